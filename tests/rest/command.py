"""Every command of the published `artifacta` CLI (pip: artifacta-cli) against `outputfs serve`."""

import json
import os
import pathlib
import subprocess
import tempfile

from served import new_key, served

WORK = pathlib.Path(tempfile.mkdtemp())


def everything(base):
    env = os.environ | {"ARTIFACTA_API_URL": base, "XDG_CONFIG_HOME": str(WORK / "config")}

    def artifacta(*words, code=0, stdin=None):
        done = subprocess.run(["artifacta", *words], env=env, cwd=WORK, input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout if "--json" in words else done.stdout + done.stderr

    def answer(*words, **more):
        return json.loads(artifacta(*words, "--json", **more))

    assert "No API key" in artifacta("whoami", code=1)
    artifacta("auth", "login", "--key", "ak_live_" + "x" * 32, code=1)
    artifacta("auth", "login", "--key", new_key())
    artifacta("config", "set", "defaults.ttl", "7d")
    assert artifacta("config", "get", "defaults.ttl").strip() == "7d"
    assert answer("whoami")["tenant_name"] == "default"
    assert "default" in artifacta("whoami", "--human")

    (WORK / "chart.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    made = answer("push", "chart.png", "--session", "run_1", "--agent", "a1", "--meta", "stage=final", "--meta", "n=1", "--ttl", "30d")
    assert made["session_id"] == "run_1" and made["metadata"] == {"stage": "final", "n": "1"} and made["content_type"] == "image/png"
    linked = answer("push", "-", "--name", "note.txt", "--session", "run_1", "--link", stdin="hello\n")
    assert linked["link"]["url"].startswith(base) and linked["size_bytes"] == 6
    assert subprocess.run(["curl", "-sf", linked["link"]["url"]], capture_output=True).stdout == b"hello\n"
    fresh = answer("push", "chart.png", "--new-session")
    assert fresh["session_id"].startswith("ses_")
    one = answer("push", "chart.png", "--session", "run_1", "--name", "k.png", "--idempotency-key", "op-1")
    assert answer("push", "chart.png", "--session", "run_1", "--name", "k.png", "--idempotency-key", "op-1")["artifact_id"] == one["artifact_id"]
    direct = answer("push", "chart.png", "--session", "run_1", "--name", "direct.png", "--presigned")
    assert direct["filename"] == "direct.png"
    assert "art_" in artifacta("push", "chart.png", "--session", "run_1", "--human")
    assert "not found" in artifacta("push", "missing.txt", code=1)

    listed = answer("ls", "--session", "run_1")
    assert {a["filename"] for a in listed["artifacts"]} == {"chart.png", "note.txt", "k.png", "direct.png"}
    assert len(answer("ls", "--session", "run_1", "--limit", "2")["artifacts"]) == 2
    cursor = answer("ls", "--limit", "2")["next_cursor"]
    assert len(answer("ls", "--limit", "2", "--after", cursor)["artifacts"]) == 2
    assert [a["artifact_id"] for a in answer("ls", "--meta", "stage=final")["artifacts"]] == [made["artifact_id"]]
    assert len(answer("ls", "--agent", "a1")["artifacts"]) == 1
    assert len(answer("ls", "--created-after", "2001-01-01T00:00:00Z", "--created-before", "2002-01-01")["artifacts"]) == 0
    assert "note.txt" in artifacta("ls", "--session", "run_1", "--human")

    assert answer("inspect", made["artifact_id"])["artifact_id"] == made["artifact_id"]
    assert "chart.png" in artifacta("inspect", made["artifact_id"], "--human")
    artifacta("inspect", "art_01JD8Q3ZV5N8R2K7M4T6W9X0YA", code=1)
    artifacta("pull", made["artifact_id"], "--output", "back.png")
    assert (WORK / "back.png").read_bytes() == b"\x89PNG\r\n\x1a\n"
    link = answer("link", made["artifact_id"], "--expires", "24h")
    assert subprocess.run(["curl", "-sf", link["url"]], capture_output=True).stdout == b"\x89PNG\r\n\x1a\n"

    assert artifacta("session", "new").strip().startswith("ses_")
    sessions = answer("session", "ls")["sessions"]
    assert {s["session_id"] for s in sessions} == {"run_1", fresh["session_id"]}
    assert "run_1" in artifacta("session", "ls", "--human", "--limit", "10")
    answer("rm", one["artifact_id"], "--force")
    artifacta("rm", "--session", fresh["session_id"], "--dry-run")
    artifacta("rm", "--session", fresh["session_id"], "--force")
    assert not answer("ls", "--session", fresh["session_id"])["artifacts"]
    assert answer("session", "seal", "run_1")["artifact_count"] == 3
    assert "sealed" in artifacta("push", "chart.png", "--session", "run_1", "--name", "late.png", code=1)
    # Nobody answers there: the network's code.
    env["ARTIFACTA_API_URL"] = "http://127.0.0.1:9"
    artifacta("whoami", code=3)


with served() as base:
    everything(base)
print("all well")
