//! The same bytes at the same path, with other words: what of them is applied to the artifact that is there, and what is noted only.

use super::record::Labels;
use super::time::Timestamp;

/// Labels that were said explicitly and are not the artifact's yet. The lifetime is not among them: see [`later`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaidAnew {
    pub metadata: Vec<(String, String)>,
    /// Attributes that are no metadata, with their values.
    pub aside: Vec<(Vec<u8>, Vec<u8>)>,
    pub agent_id: Option<String>,
    pub content_type: Option<String>,
}

/// What `new` says explicitly that `known` does not have. None: nothing.
#[must_use]
pub fn said_anew(known: &Labels, new: &Labels) -> Option<SaidAnew> {
    let other = |new: &Option<String>, known: &Option<String>| new.clone().filter(|text| known.as_ref() != Some(text));
    let said = SaidAnew {
        metadata: (new.explicit.0.iter())
            .filter(|(k, v)| known.explicit.get(k) != Some(v))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        aside: (new.aside.names())
            .filter_map(|name| Some((name.to_vec(), new.aside.get(name)?.to_vec())))
            .filter(|(name, value)| known.aside.get(name) != Some(value.as_slice()))
            .collect(),
        agent_id: other(&new.agent_id, &known.agent_id),
        content_type: other(&new.content_type, &known.content_type),
    };
    (said != SaidAnew::default()).then_some(said)
}

/// The later of two expiries; none is never.
#[must_use]
pub fn later(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.zip(b).map(|(a, b)| a.max(b))
}

/// What the environment of another writer says of the same bytes: `agent b, stage=final`. None: the same as before, or nothing.
#[must_use]
pub fn noted(known: &Labels, new: &Labels) -> Option<String> {
    let mut words = Vec::new();
    if let Some(agent) =
        new.env_agent_id.as_ref().filter(|a| ![&known.env_agent_id, &known.agent_id].contains(&&Some((*a).clone())))
    {
        words.push(format!("agent {agent}"));
    }
    if let Some(ttl) = new.env_ttl.as_ref().filter(|_| new.env_ttl != known.env_ttl) {
        words.push(format!("ttl {ttl}"));
    }
    for (key, value) in &new.environment.0 {
        if known.environment.get(key) != Some(value) && known.explicit.get(key) != Some(value) {
            words.push(format!("{key}={value}"));
        }
    }
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_anew() {
        let mut known = Labels { agent_id: Some("a".into()), env_ttl: Some("7d".into()), ..Labels::default() };
        known.explicit.set("stage", b"draft").unwrap();
        assert_eq!(said_anew(&known, &Labels::default()), None);
        assert_eq!(said_anew(&known, &known.clone()), None);
        let mut new = Labels { agent_id: Some("z".into()), ..Labels::default() };
        new.explicit.set("stage", b"final").unwrap();
        let said = said_anew(&known, &new).unwrap();
        assert_eq!(said.metadata, [("stage".into(), "final".into())]);
        assert_eq!((said.agent_id.as_deref(), said.content_type), (Some("z"), None));
    }

    #[test]
    fn never_is_the_latest() {
        let (a, b) = (Some(Timestamp(1)), Some(Timestamp(2)));
        assert_eq!(later(a, b), b);
        assert_eq!(later(b, a), b);
        assert_eq!(later(a, None), None);
        assert_eq!(later(None, b), None);
    }

    #[test]
    fn another_environment_is_noted() {
        let mut new = Labels { env_agent_id: Some("b".into()), env_ttl: Some("1h".into()), ..Labels::default() };
        new.environment.set("stage", b"final").unwrap();
        let known = Labels { env_agent_id: Some("a".into()), ..Labels::default() };
        assert_eq!(noted(&known, &new).as_deref(), Some("agent b, ttl 1h, stage=final"));
        assert_eq!(noted(&new, &new.clone()), None);
        assert_eq!(noted(&known, &Labels::default()), None);
    }
}
