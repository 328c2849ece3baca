//! In whose name the transactions of this thread run, for the triggers that write the audit trail.

use std::cell::RefCell;

use crate::catalog::audit::Actor;

thread_local! {
    static ACTOR: RefCell<Option<Actor>> = const { RefCell::new(None) };
    static VERB: RefCell<Option<&'static str>> = const { RefCell::new(None) };
}

/// What follows on this thread is done in the name of `actor`.
pub fn act(actor: Option<Actor>) {
    ACTOR.with(|a| *a.borrow_mut() = actor);
}

/// Runs `f`, and the trail calls what it does `verb`.
pub fn called<T>(verb: &'static str, f: impl FnOnce() -> T) -> T {
    let before = VERB.with(|v| v.borrow_mut().replace(verb));
    let done = f();
    VERB.with(|v| *v.borrow_mut() = before);
    done
}

/// The door that the actor came through.
#[must_use]
pub fn door() -> Option<&'static str> {
    ACTOR.with(|a| a.borrow().as_ref().map(|a| a.door))
}

#[must_use]
pub fn who() -> Option<String> {
    ACTOR.with(|a| a.borrow().as_ref().map(|a| a.who.text()))
}

#[must_use]
pub fn verb() -> Option<&'static str> {
    VERB.with(|v| *v.borrow())
}
