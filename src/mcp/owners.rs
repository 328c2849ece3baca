//! Whose MCP sessions are whose: a session's ID is no secret that opens it, the key that began it is.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

/// Sessions known at most; the client of an older one begins anew.
const KNOWN: usize = 4096;

/// The ID of each session's key.
#[derive(Default)]
pub struct Owners(Mutex<(HashMap<String, String>, VecDeque<String>)>);

impl Owners {
    /// The session was begun with that key.
    pub fn begin(&self, session: &str, key: &str) {
        let (known, order) = &mut *self.0.lock();
        if known.insert(session.to_owned(), key.to_owned()).is_none() {
            order.push_back(session.to_owned());
        }
        while order.len() > KNOWN {
            order.pop_front().and_then(|oldest| known.remove(&oldest));
        }
    }

    /// Whether it may be used with that key.
    pub fn owns(&self, session: &str, key: &str) -> bool {
        self.0.lock().0.get(session).is_some_and(|owner| owner == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_belongs_to_its_key() {
        let owners = Owners::default();
        owners.begin("s", "key_a");
        assert!(owners.owns("s", "key_a") && !owners.owns("s", "key_b") && !owners.owns("t", "key_a"));
        (0..KNOWN).for_each(|n| owners.begin(&n.to_string(), "key_a"));
        assert!(!owners.owns("s", "key_a") && owners.owns("7", "key_a"));
        assert_eq!(owners.0.lock().0.len(), KNOWN);
    }
}
