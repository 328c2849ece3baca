//! What an inode is to the catalog.

use crate::artifact::Error;
use crate::artifact::openfile::Naming;

use crate::engine::volume::inode::Pending;

/// What an inode is to the catalog. It decides what a save, a rename and a removal mean for it.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Never committed: its name is in the overlay, its first save gives it its place in the catalog.
    Draft(Pending),
    /// The catalog has it under some name.
    Cataloged,
    /// Made without a name, and not linked yet: see [`crate::engine::volume::ops::tmpfile`]. Nothing of it is saved.
    Tmpfile,
    /// No name is left: nothing of it is saved. With an error: its first bytes were refused for good, and its name given up.
    Unlinked(Option<Error>),
    /// Its staging file lies in the scratch tree: it is no artifact, and nothing of it is saved.
    Scratch,
}

impl Identity {
    /// Where its first commit will put it.
    pub fn draft(&self) -> Option<&Pending> {
        if let Identity::Draft(pending) = self { Some(pending) } else { None }
    }

    /// The catalog knows nothing of it yet: its first commit is to come, and perhaps its name.
    pub fn is_unborn(&self) -> bool {
        matches!(self, Identity::Draft(_) | Identity::Tmpfile)
    }

    /// No name leads to it, not even one of scratch.
    pub fn has_no_name(&self) -> bool {
        matches!(self, Identity::Tmpfile | Identity::Unlinked(_))
    }

    pub fn is_scratch(&self) -> bool {
        matches!(self, Identity::Scratch)
    }

    /// Why its name was given up.
    pub fn refused(&self) -> Option<&Error> {
        if let Identity::Unlinked(Some(why)) = self { Some(why) } else { None }
    }

    /// Its first commit is done. What lost its name while that was on its way stays without.
    pub fn commit(&mut self) {
        if let Identity::Draft(_) = self {
            *self = Identity::Cataloged;
        }
    }

    /// Its last name is gone. What was refused before stays so: whoever writes to it has to hear of it.
    pub fn unlink(&mut self) {
        if !matches!(self, Identity::Unlinked(_)) {
            *self = Identity::Unlinked(None);
        }
    }

    /// Its name is given up, for good, if it never was committed: then where it was to be.
    pub fn refuse(&mut self, why: Error) -> Option<Pending> {
        match std::mem::replace(self, Identity::Cataloged) {
            Identity::Draft(pending) => {
                *self = Identity::Unlinked(Some(why));
                Some(pending)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// Whether a save may give it a place, and who has to hear of what is not saved.
    pub fn naming(&self) -> Naming {
        match self {
            Identity::Draft(_) | Identity::Cataloged => Naming::Named,
            Identity::Unlinked(Some(_)) => Naming::Refused,
            Identity::Tmpfile | Identity::Unlinked(None) | Identity::Scratch => Naming::Nameless,
        }
    }
}
