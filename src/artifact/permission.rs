//! Who may do what with an inode: the rules of path_resolution(7) and inode(7), for what the kernel does not decide by itself.
//! (Of real files it does, by their modes; a hidden entry stands for an inode somewhere else, and so does a path in a command.)

use std::sync::Arc;

/// Owner and mode of one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm {
    /// `mode & 0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The sticky bit of a directory: names in it are removed by their owners.
const STICKY: u32 = 0o1000;

/// A caller, as the kernel knows him: the user and group of his file accesses, and his further groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Who {
    /// Capabilities are not asked for: in a user namespace of its own every process has all of them, over nothing.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    fn is_in(&self, group: u32) -> bool {
        self.gid == group || self.groups.contains(&group)
    }
}

/// What stands before an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub own: Perm,
    /// The directories that lead to it, the nearest first, up to the root that the caller sees.
    pub above: Arc<[Perm]>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `stat`: reach it.
    See,
    /// Learn its name from a listing of its directory.
    List,
    Read,
    Write,
    /// Make a name in this directory.
    MakeIn,
    /// Take its name away.
    Remove,
    /// What the owner alone may do, as `chmod`.
    Own,
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;

impl Perm {
    /// The class that fits first decides, also where a later one would allow more.
    fn allows(self, who: &Who, bits: u32) -> bool {
        let class = if who.uid == self.uid {
            self.mode >> 6
        } else if who.is_in(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        who.is_root() || class & bits == bits
    }

    fn is_of(self, who: &Who) -> bool {
        who.is_root() || who.uid == self.uid
    }
}

/// The decision, for every door that local users come through.
#[must_use]
pub fn may(who: &Who, guard: &Guard, act: Act) -> bool {
    if !guard.above.iter().all(|dir| dir.allows(who, SEARCH)) {
        return false;
    }
    let own = guard.own;
    // What has nothing above it is the root itself: nobody removes it, and it is in no listing.
    let parent = guard.above.first().copied();
    match act {
        Act::See => true,
        Act::List => parent.is_none_or(|dir| dir.allows(who, READ)),
        Act::Read => own.allows(who, READ),
        Act::Write => own.allows(who, WRITE),
        Act::MakeIn => own.allows(who, WRITE | SEARCH),
        Act::Remove => parent.is_some_and(|dir| {
            dir.allows(who, WRITE | SEARCH) && (dir.mode & STICKY == 0 || own.is_of(who) || dir.is_of(who))
        }),
        Act::Own => own.is_of(who),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: u32, gid: u32, groups: &[u32]) -> Who {
        Who { uid, gid, groups: groups.to_vec() }
    }

    fn perm(mode: u32, uid: u32, gid: u32) -> Perm {
        Perm { mode, uid, gid }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let file = Guard { own: perm(0o604, 1, 10), above: Arc::from([]) };
        for (caller, read, write) in [
            (who(1, 99, &[]), true, true),
            // Of the group, which has less than the others.
            (who(2, 10, &[]), false, false),
            (who(2, 11, &[12, 10]), false, false),
            (who(2, 11, &[12]), true, false),
            (who(0, 0, &[]), true, true),
        ] {
            assert_eq!(may(&caller, &file, Act::Read), read, "{caller:?}");
            assert_eq!(may(&caller, &file, Act::Write), write, "{caller:?}");
        }
    }

    #[test]
    fn every_directory_above_must_let_through() {
        let (mine, closed, open) = (perm(0o644, 5, 5), perm(0o700, 1, 1), perm(0o755, 1, 1));
        for above in [[closed, open], [open, closed]] {
            let guard = Guard { own: mine, above: Arc::from(above) };
            for act in [Act::See, Act::List, Act::Read, Act::Write, Act::MakeIn, Act::Remove, Act::Own] {
                assert!(!may(&who(5, 5, &[]), &guard, act), "{act:?}");
                assert!(may(&who(0, 0, &[]), &guard, act), "{act:?}");
            }
        }
    }

    #[test]
    fn names_belong_to_their_directory() {
        let file = perm(0o600, 5, 5);
        let at = |dir| Guard { own: file, above: Arc::from([dir]) };
        let other = who(6, 6, &[]);
        // Search alone shows what is known by name.
        assert!(may(&other, &at(perm(0o711, 1, 1)), Act::See) && !may(&other, &at(perm(0o711, 1, 1)), Act::List));
        assert!(may(&other, &at(perm(0o777, 1, 1)), Act::Remove) && !may(&other, &at(perm(0o755, 1, 1)), Act::Remove));
        // The sticky bit: the file's owner, the directory's, root.
        let sticky = at(perm(0o1777, 1, 1));
        assert!(!may(&other, &sticky, Act::Remove));
        assert!([0, 1, 5].into_iter().all(|uid| may(&who(uid, uid, &[]), &sticky, Act::Remove)));
        // The mount's root has no directory.
        assert!(!may(&who(0, 0, &[]), &Guard { own: file, above: Arc::from([]) }, Act::Remove));
    }
}
