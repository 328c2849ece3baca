//! What a writer's environment says of its files: the same variables at every door that can see one.
//!
//! `OUTPUTFS_*` wins over the `ARTIFACTA_*` that the published client knows. Nothing here fails: what is out of limits is left out, and
//! told to the caller.

use super::error::Error;
use super::metadata::{Metadata, check_label};
use super::provenance::{bounded, traceparent};
use super::record::Labels;
use super::time::Ttl;

/// Variables that one warning names.
const TOLD: usize = 8;

/// Labels from an environment.
#[derive(Debug, Default)]
pub struct Environment {
    pub agent_id: Option<String>,
    pub ttl: Option<String>,
    pub idempotency_key: Option<String>,
    pub metadata: Metadata,
    pub traceparent: Option<String>,
    /// Variables that are out of limits.
    pub left_out: Vec<(String, Error)>,
}

/// Reads the variables that label files. Empty ones say nothing.
pub fn read<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Environment {
    let mut env = Environment::default();
    let (mut agent, mut ttl) = (None, None);
    for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
        let mut text = |into: &mut Option<String>| {
            let plain = if value.chars().any(char::is_control) {
                Err(Error::invalid("no control characters"))
            } else {
                check_label("it", value)
            };
            match plain {
                Ok(()) => *into = Some(value.to_owned()),
                Err(e) => env.left_out.push((name.to_owned(), e)),
            }
        };
        match name {
            "OUTPUTFS_AGENT_ID" => text(&mut env.agent_id),
            "ARTIFACTA_AGENT_ID" => text(&mut agent),
            "OUTPUTFS_IDEMPOTENCY_KEY" => text(&mut env.idempotency_key),
            "TRACEPARENT" => env.traceparent = traceparent(value),
            "OUTPUTFS_TTL" | "ARTIFACTA_TTL" => match value.parse::<Ttl>() {
                Ok(_) if name == "OUTPUTFS_TTL" => env.ttl = Some(value.to_owned()),
                Ok(_) => ttl = Some(value.to_owned()),
                Err(e) => env.left_out.push((name.to_owned(), e)),
            },
            _ => {
                let Some(key) = name.strip_prefix("OUTPUTFS_META_") else { continue };
                if let Err(e) = env.metadata.set(&key.to_ascii_lowercase(), value.as_bytes()) {
                    env.left_out.push((name.to_owned(), e));
                }
            }
        }
    }
    env.agent_id = env.agent_id.or(agent);
    env.ttl = env.ttl.or(ttl);
    env
}

impl Environment {
    /// What was left out and why, for one warning, whatever the environment holds.
    #[must_use]
    pub fn excess(&self) -> Option<String> {
        let told = self.left_out.iter().take(TOLD);
        let mut told: Vec<_> = told
            .map(|(name, e)| format!("{} ({})", bounded(name), bounded(&e.message)).escape_debug().to_string())
            .collect();
        if self.left_out.len() > TOLD {
            told.push(format!("{} more", self.left_out.len() - TOLD));
        }
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// Gives it to the labels of a file; what they say explicitly stays.
    pub fn label(self, labels: &mut Labels) {
        labels.environment = self.metadata;
        labels.env_agent_id = self.agent_id;
        labels.env_ttl = self.ttl;
        labels.provenance.traceparent = self.traceparent;
        labels.idempotency_key = labels.idempotency_key.take().or(self.idempotency_key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_labels_a_file() {
        let long = "x".repeat(1025);
        let env = read(
            [
                ("PATH", "/bin"),
                ("OUTPUTFS_META_STAGE", "final"),
                ("OUTPUTFS_META_1", "bad"),
                ("ARTIFACTA_AGENT_ID", "old"),
                ("OUTPUTFS_AGENT_ID", "a1"),
                ("OUTPUTFS_TTL", "x"),
                ("ARTIFACTA_TTL", "7d"),
                ("OUTPUTFS_IDEMPOTENCY_KEY", &long),
                ("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ]
            .into_iter(),
        );
        assert_eq!(
            env.left_out.iter().map(|l| l.0.as_str()).collect::<Vec<_>>(),
            ["OUTPUTFS_META_1", "OUTPUTFS_TTL", "OUTPUTFS_IDEMPOTENCY_KEY"]
        );
        let excess = env.excess().unwrap();
        assert!(excess.ends_with("OUTPUTFS_IDEMPOTENCY_KEY (it has 1025 bytes: at most 1024)"), "{excess}");
        let mut labels = Labels { idempotency_key: Some("said".into()), ..Labels::default() };
        env.label(&mut labels);
        assert_eq!(labels.environment.get("stage"), Some("final"));
        assert_eq!(labels.environment.0.len(), 1);
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(labels.provenance.traceparent.as_deref(), Some(trace));
        assert_eq!(labels.env_agent_id.as_deref(), Some("a1"));
        assert_eq!(labels.env_ttl.as_deref(), Some("7d"));
        assert_eq!(labels.idempotency_key.as_deref(), Some("said"));
    }
}
