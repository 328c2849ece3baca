//! The manifest of a sealed session: what it holds, for ever, provable from the manifest and the blobs alone.
//!
//! The digest is SHA-256 over the compact JSON of `artifacts` with sorted keys and without what may change after the
//! seal (`expires_at`), so that anyone can compute it:
//! `jq -cS '[.artifacts[] | del(.expires_at)]' manifest.json | tr -d '\n' | sha256sum`.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::{Error, Kind, Result};
use super::ids::{ArtifactId, BlobHash};
use super::metadata::Metadata;
use super::record::{Artifact, Manifest, StoreState};
use super::time::Timestamp;

/// May be extended after the seal: shown, but not part of the proof.
const CHANGES_LATER: &str = "expires_at";

/// The digest of these artifacts, in whatever order they are given.
#[must_use]
pub fn digest_of(artifacts: &[Artifact]) -> BlobHash {
    digest_of_json(&entries(artifacts))
}

/// The manifest as it is shown and stored.
#[must_use]
pub fn to_json(manifest: &Manifest) -> Value {
    json!({
        "session_id": manifest.session_id.as_str(),
        "sealed_at": manifest.sealed_at.to_rfc3339(),
        "digest": manifest.digest.to_hex(),
        "artifacts": entries(&manifest.artifacts),
    })
}

/// The bytes that are stored beside the blobs.
#[must_use]
pub fn to_bytes(manifest: &Manifest) -> Vec<u8> {
    let mut text = format!("{:#}", to_json(manifest));
    text.push('\n');
    text.into_bytes()
}

/// In the order of the manifest: by the bytes of the path, then by ID. A seal waits until all is stored.
fn entries(artifacts: &[Artifact]) -> Vec<Value> {
    let mut sorted: Vec<_> = artifacts.iter().collect();
    sorted.sort_unstable_by(|a, b| (&a.filename, a.id).cmp(&(&b.filename, b.id)));
    let stored = |a: &Artifact| Artifact { store: StoreState::Stored, ..a.clone() }.to_json();
    sorted.into_iter().map(stored).collect()
}

fn digest_of_json(entries: &[Value]) -> BlobHash {
    let proven: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut entry = sorted(entry);
            if let Some(map) = entry.as_object_mut() {
                map.shift_remove(CHANGES_LATER);
            }
            entry
        })
        .collect();
    BlobHash(Sha256::digest(Value::Array(proven).to_string()).into())
}

/// With the keys of every object in byte order, so that a tool that reorders them breaks no proof.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_unstable_by_key(|(key, _)| *key);
            Value::Object(pairs.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// A manifest read back, its digest proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedManifest {
    pub session_id: String,
    pub sealed_at: Timestamp,
    pub digest: BlobHash,
    pub entries: Vec<Entry>,
}

/// One artifact of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    #[serde(rename = "artifact_id")]
    pub id: ArtifactId,
    /// As JSON shows it ([`super::name::display_bytes`]).
    pub filename: String,
    pub content_type: String,
    #[serde(rename = "size_bytes")]
    pub size: u64,
    #[serde(rename = "content_hash")]
    pub hash: BlobHash,
    pub agent_id: Option<String>,
    pub metadata: Metadata,
    pub version: u64,
    /// RFC 3339, as written.
    pub created_at: String,
    /// At the time of the seal; not covered by the digest.
    pub expires_at: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    session_id: String,
    sealed_at: String,
    digest: BlobHash,
    artifacts: Vec<Value>,
}

/// Reads a manifest from its bytes and proves its digest.
///
/// # Errors
/// `Corrupt` when it is no manifest, or when its digest is not that of its artifacts.
pub fn parse(bytes: &[u8]) -> Result<ParsedManifest> {
    let corrupt = |why: String| Error::new(Kind::Corrupt, format!("the manifest is damaged: {why}"));
    let raw: Raw = serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
    let found = digest_of_json(&raw.artifacts);
    if found != raw.digest {
        return Err(corrupt(format!("its digest is {} and that of its artifacts {found}", raw.digest)));
    }
    let entries = raw.artifacts.into_iter().map(serde_json::from_value).collect::<Result<Vec<Entry>, _>>();
    Ok(ParsedManifest {
        session_id: raw.session_id,
        sealed_at: Timestamp::parse_rfc3339(&raw.sealed_at).map_err(|e| corrupt(e.message))?,
        digest: raw.digest,
        entries: entries.map_err(|e| corrupt(e.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ids::{Ino, SessionId, TenantId};
    use crate::artifact::metadata::Provenance;
    use crate::artifact::record::Life;
    use proptest::prelude::*;
    use ulid::Ulid;

    fn artifact(n: u64, filename: &[u8]) -> Artifact {
        let mut metadata = Metadata::default();
        metadata.set("stage", "final ä \" \n".as_bytes()).unwrap();
        Artifact {
            id: ArtifactId(Ulid::from_parts(n, 7)),
            tenant: TenantId(1),
            session: SessionId(1),
            session_name: Some("run_42".parse().unwrap()),
            ino: Ino(n),
            filename: filename.to_vec(),
            version: 1,
            content_type: String::from("text/plain"),
            size: n,
            hash: BlobHash([u8::try_from(n % 256).unwrap(); 32]),
            agent_id: None,
            metadata,
            aside: crate::artifact::aside::Aside::default(),
            provenance: Provenance::default(),
            idempotency_key: None,
            created: Timestamp::from_parts(1_700_000_000, 5000),
            expires: Some(Timestamp::from_parts(1_800_000_000, 0)),
            life: Life::Live,
            store: StoreState::Pending,
            deleted: None,
            recovered: false,
            deleted_by: None,
            attempt: None,
            fleeting: None,
        }
    }

    fn manifest(artifacts: Vec<Artifact>) -> Manifest {
        Manifest {
            session_id: "run_42".parse().unwrap(),
            sealed_at: Timestamp::from_parts(1_700_000_001, 0),
            digest: digest_of(&artifacts),
            artifacts,
        }
    }

    #[test]
    fn read_back_and_proven() {
        let m = manifest(vec![artifact(2, b"b"), artifact(1, b"a/\xff.txt"), artifact(3, b"a")]);
        let parsed = parse(&to_bytes(&m)).unwrap();
        assert_eq!(parsed.digest, m.digest);
        assert_eq!((parsed.session_id.as_str(), parsed.sealed_at), ("run_42", m.sealed_at));
        assert_eq!(parsed.entries.iter().map(|e| e.filename.as_str()).collect::<Vec<_>>(), ["a", "a/%FF.txt", "b"]);
        assert_eq!((parsed.entries[2].id, parsed.entries[2].hash), (m.artifacts[0].id, m.artifacts[0].hash));
        assert_eq!(to_json(&m)["artifacts"][0]["state"], "stored");
        parse(&to_bytes(&manifest(Vec::new()))).unwrap();
    }

    #[test]
    fn only_what_may_change_later_may_change() {
        let one = artifact(1, b"a");
        let digest = digest_of(std::slice::from_ref(&one));
        let later = Artifact { expires: None, store: StoreState::Stored, ..one.clone() };
        assert_eq!(digest_of(&[later]), digest);
        for other in [
            Artifact { size: 2, ..one.clone() },
            Artifact { hash: BlobHash::EMPTY, ..one.clone() },
            Artifact { filename: b"b".to_vec(), ..one.clone() },
            Artifact { metadata: Metadata::default(), ..one.clone() },
            Artifact { agent_id: Some(String::from("x")), ..one.clone() },
        ] {
            assert_ne!(digest_of(&[other]), digest);
        }
        assert_ne!(digest_of(&[]), digest);
    }

    #[test]
    fn the_digest_stays_what_it_is() {
        // Manifests of sealed sessions exist: whoever changes this breaks their proof.
        let text = r#"[{"agent_id":null,"artifact_id":"art_00000000010000000000000007","content_hash":"0101010101010101010101010101010101010101010101010101010101010101","content_type":"text/plain","created_at":"2023-11-14T22:13:20.000005Z","filename":"a","metadata":{"stage":"final ä \" \n"},"session_id":"run_42","size_bytes":1,"state":"stored","version":1}]"#;
        assert_eq!(digest_of(&[artifact(1, b"a")]).0, <[u8; 32]>::from(Sha256::digest(text)));
    }

    #[test]
    fn damage_is_seen() {
        let bytes = to_bytes(&manifest(vec![artifact(1, b"a")]));
        let text = String::from_utf8(bytes).unwrap();
        let damaged = [
            text.replace("\"size_bytes\": 1", "\"size_bytes\": 2"),
            text.replace("0101", "0102"),
            text[..text.len() / 2].to_owned(),
            String::from("{}"),
        ];
        for bad in damaged {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().kind, Kind::Corrupt, "{bad}");
        }
        // Another order of keys and other white space are no damage.
        let value: Value = serde_json::from_str(&text).unwrap();
        parse(sorted(&value).to_string().as_bytes()).unwrap();
    }

    proptest! {
        #[test]
        fn any_order_and_any_names(names in proptest::collection::vec(proptest::collection::vec(1u8.., 1..12), 0..8)) {
            let artifacts: Vec<_> = names.iter().zip(1..).map(|(name, n)| artifact(n, name)).collect();
            let reversed: Vec<_> = artifacts.iter().rev().cloned().collect();
            prop_assert_eq!(digest_of(&artifacts), digest_of(&reversed));
            let m = manifest(artifacts);
            prop_assert_eq!(parse(&to_bytes(&m)).unwrap().entries.len(), names.len());
        }
    }
}
