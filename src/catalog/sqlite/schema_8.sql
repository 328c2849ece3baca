-- Version 8: the audit trail. Written by triggers, so in the very transaction of what it tells of, whichever way that came.
-- audit_door(), audit_who(), audit_verb() and audit_now() are functions of the writing connection: who acts there now.

CREATE TABLE audit(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  session INTEGER,
  what TEXT NOT NULL,
  artifact BLOB,
  -- Where it stood: directory and name.
  parent INTEGER, name BLOB,
  door TEXT NOT NULL,
  who TEXT,
  detail TEXT
);
CREATE INDEX audit_session ON audit(session, seq);

CREATE TRIGGER audit_only_grows BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;
CREATE TRIGGER audit_keeps BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail only grows'); END;

CREATE TRIGGER audit_artifact AFTER INSERT ON artifacts BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who, detail) VALUES (
    audit_now(), new.tenant, new.session,
    coalesce(audit_verb(), CASE WHEN new.recovered THEN 'recover' WHEN new.version > 1 THEN 'version' ELSE 'create' END),
    new.id, new.parent, new.name,
    -- Who writes is known best by the artifact itself, but for one that is brought back.
    iif(audit_verb() IS NULL, coalesce(nullif(new.labels ->> '$.provenance.door', ''), audit_door(), 'daemon'), coalesce(audit_door(), 'daemon')),
    iif(audit_verb() IS NULL,
      coalesce(new.agent_id, (new.labels ->> '$.provenance.executable') || ', uid ' || (new.labels ->> '$.provenance.uid'), audit_who()),
      audit_who()),
    'version ' || new.version || ', ' || new.size || ' bytes');
END;

CREATE TRIGGER audit_life AFTER UPDATE OF life ON artifacts WHEN old.life <> new.life AND new.life = 2 BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who) VALUES (
    audit_now(), new.tenant, new.session, coalesce(audit_verb(), 'delete'), new.id, new.parent, new.name,
    coalesce(audit_door(), 'daemon'), audit_who());
END;

CREATE TRIGGER audit_end AFTER DELETE ON artifacts BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who) VALUES (
    audit_now(), old.tenant, old.session, coalesce(audit_verb(), CASE old.life WHEN 2 THEN 'purge' ELSE 'replace' END), old.id, old.parent, old.name,
    coalesce(audit_door(), 'daemon'), audit_who());
END;

CREATE TRIGGER audit_labels AFTER UPDATE OF metadata, content_type, agent_id ON artifacts
WHEN old.metadata IS NOT new.metadata OR old.content_type IS NOT new.content_type OR old.agent_id IS NOT new.agent_id BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who, detail) VALUES (
    audit_now(), new.tenant, new.session, 'metadata', new.id, new.parent, new.name,
    coalesce(audit_door(), 'daemon'), audit_who(), new.metadata);
END;

CREATE TRIGGER audit_expiry AFTER UPDATE OF expires ON artifacts WHEN old.expires IS NOT new.expires BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who, detail) VALUES (
    audit_now(), new.tenant, new.session, 'ttl', new.id, new.parent, new.name,
    coalesce(audit_door(), 'daemon'), audit_who(),
    iif(new.expires IS NULL, 'never', strftime('%Y-%m-%dT%H:%M:%SZ', new.expires / 1000000000, 'unixepoch')));
END;

CREATE TRIGGER audit_rename AFTER UPDATE OF parent, name ON artifacts
WHEN new.life = 0 AND (old.parent <> new.parent OR old.name <> new.name) BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who, detail) VALUES (
    audit_now(), new.tenant, new.session, 'rename', new.id, new.parent, new.name,
    coalesce(audit_door(), 'daemon'), audit_who(), 'from ' || CAST(old.name AS TEXT));
END;

CREATE TRIGGER audit_seal AFTER UPDATE OF sealed ON sessions WHEN old.sealed IS NULL AND new.sealed IS NOT NULL BEGIN
  INSERT INTO audit(at, tenant, session, what, door, who) VALUES (
    audit_now(), new.tenant, new.id, 'seal', coalesce(audit_door(), 'daemon'), audit_who());
END;

CREATE TRIGGER audit_link AFTER INSERT ON links BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who, detail) VALUES (
    audit_now(), new.tenant, coalesce(new.session, (SELECT session FROM artifacts WHERE id = new.artifact)), 'link', new.artifact,
    (SELECT parent FROM artifacts WHERE id = new.artifact), (SELECT name FROM artifacts WHERE id = new.artifact),
    coalesce(audit_door(), 'daemon'), audit_who(), new.id);
END;

CREATE TRIGGER audit_revoke AFTER UPDATE OF revoked ON links WHEN old.revoked IS NULL AND new.revoked IS NOT NULL BEGIN
  INSERT INTO audit(at, tenant, session, what, artifact, parent, name, door, who, detail) VALUES (
    audit_now(), new.tenant, coalesce(new.session, (SELECT session FROM artifacts WHERE id = new.artifact)), 'revoke', new.artifact,
    (SELECT parent FROM artifacts WHERE id = new.artifact), (SELECT name FROM artifacts WHERE id = new.artifact),
    coalesce(audit_door(), 'daemon'), audit_who(), new.id);
END;
