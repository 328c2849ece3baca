//! Numbers for what the kernel has seen of the scratch tree.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;

use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::name::Name;
use crate::artifact::record::Labels;

struct Node {
    /// Device and inode number in the tree.
    id: (u64, u64),
    session: SessionId,
    names: Vec<(Ino, Name, u64)>,
    /// Of who wrote it last, for the day it becomes an artifact.
    labels: Option<Box<Labels>>,
}

/// Inode ↔ file in the tree, and the cookies of names. Grows with what is looked at; forgets what is removed here. What is removed
/// past it (by a seal, by another mount) it still has, while the file system gives the numbers of those files to new ones: see
/// [`crate::engine::volume::scratch::Scratch::know`].
#[derive(Default)]
pub struct Known {
    nodes: HashMap<Ino, Node>,
    ids: HashMap<(u64, u64), Ino>,
    names: HashMap<(Ino, Name), Ino>,
}

pub fn id_of(meta: &std::fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

impl Known {
    pub fn has(&self, ino: Ino) -> bool {
        self.nodes.contains_key(&ino)
    }

    pub fn session(&self, ino: Ino) -> Option<SessionId> {
        self.nodes.get(&ino).map(|n| n.session)
    }

    /// The number of the file `id`, as far as it is still that file.
    pub fn by_id(&self, id: (u64, u64)) -> Option<Ino> {
        self.ids.get(&id).copied()
    }

    pub fn place(&self, ino: Ino) -> Option<(Ino, Name)> {
        let (parent, name, _) = self.nodes.get(&ino)?.names.first()?;
        Some((*parent, name.clone()))
    }

    /// The inode and cookie of a name, if it still leads to the file `id`.
    pub fn find(&self, parent: Ino, name: &Name, id: (u64, u64)) -> Option<(Ino, u64)> {
        let ino = *self.names.get(&(parent, name.clone()))?;
        let node = self.nodes.get(&ino).filter(|n| n.id == id)?;
        let (_, _, cookie) = node.names.iter().find(|(p, n, _)| *p == parent && n == name)?;
        Some((ino, *cookie))
    }

    /// Notes a name; `fresh` is taken if the file has no number yet.
    pub fn add(&mut self, at: (Ino, &Name), id: (u64, u64), fresh: Ino, cookie: u64, session: SessionId) -> (Ino, u64) {
        if let Some(found) = self.find(at.0, at.1, id) {
            return found;
        }
        self.forget(at.0, at.1);
        let ino = *self.ids.entry(id).or_insert(fresh);
        let node = self.nodes.entry(ino).or_insert_with(|| Node { id, session, names: Vec::new(), labels: None });
        node.names.push((at.0, at.1.clone(), cookie));
        self.names.insert((at.0, at.1.clone()), ino);
        (ino, cookie)
    }

    /// The name leads nowhere any more. A file without names keeps its number until [`Known::drop_nameless`].
    pub fn forget(&mut self, parent: Ino, name: &Name) -> Option<Ino> {
        let ino = self.names.remove(&(parent, name.clone()))?;
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.names.retain(|(p, n, _)| *p != parent || n != name);
            if node.names.is_empty() {
                // Its number in the tree may be another file's tomorrow.
                if self.ids.get(&node.id) == Some(&ino) {
                    self.ids.remove(&node.id);
                }
            }
        }
        Some(ino)
    }

    /// A name was moved; what stood at `to` has been forgotten.
    pub fn rename(&mut self, from: (Ino, &Name), to: (Ino, &Name), cookie: u64) {
        let Some(ino) = self.names.remove(&(from.0, from.1.clone())) else { return };
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.names.retain(|(p, n, _)| *p != from.0 || n != from.1);
            node.names.push((to.0, to.1.clone(), cookie));
        }
        self.names.insert((to.0, to.1.clone()), ino);
    }

    /// Two names changed places.
    pub fn exchange(&mut self, a: (Ino, &Name), b: (Ino, &Name), cookies: (u64, u64)) {
        let ino = |k: &Self, at: (Ino, &Name)| k.names.get(&(at.0, at.1.clone())).copied();
        let (first, second) = (ino(self, a), ino(self, b));
        for (at, other, ino, cookie) in [(a, b, first, cookies.0), (b, a, second, cookies.1)] {
            let Some(ino) = ino else { continue };
            if let Some(node) = self.nodes.get_mut(&ino) {
                node.names.retain(|(p, n, _)| *p != at.0 || n != at.1);
                node.names.push((other.0, other.1.clone(), cookie));
            }
            self.names.insert((other.0, other.1.clone()), ino);
        }
    }

    /// Nobody has it open. True when it is gone for good.
    pub fn drop_nameless(&mut self, ino: Ino) -> bool {
        let nameless = self.nodes.get(&ino).is_some_and(|n| n.names.is_empty());
        if nameless {
            self.nodes.remove(&ino);
        }
        nameless
    }

    /// It has become something else under its number.
    pub fn remove(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.remove(&ino) {
            if self.ids.get(&node.id) == Some(&ino) {
                self.ids.remove(&node.id);
            }
            for (parent, name, _) in node.names {
                self.names.remove(&(parent, name));
            }
        }
    }

    pub fn set_labels(&mut self, ino: Ino, labels: Labels) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.labels = Some(Box::new(labels));
        }
    }

    pub fn labels(&self, ino: Ino) -> Option<Labels> {
        self.nodes.get(&ino)?.labels.as_deref().cloned()
    }
}
