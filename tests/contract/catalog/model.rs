//! Random operations on the tree, against a model of a few dozen lines.
//! Letters: a directory `d` or `e`, a name in it `n` or `m`, content `c`, a mode of rename `k`.
#![allow(clippy::many_single_char_names, clippy::unit_arg, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;

use outputfs::artifact::Kind;
use outputfs::artifact::ids::Ino;
use outputfs::artifact::record::NodeKind;
use outputfs::catalog::RenameMode;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::world::{World, name};

/// Directories and names are picked by small numbers, so that operations meet one another.
#[derive(Clone, Debug)]
enum Op {
    Mkdir(usize, u8),
    Write(usize, u8, u8),
    Link(usize, u8, usize, u8),
    Unlink(usize, u8),
    Rmdir(usize, u8),
    Rename(usize, u8, usize, u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let (d, n) = (0usize..6, 0u8..4);
    prop_oneof![
        (d.clone(), n.clone()).prop_map(|(d, n)| Op::Mkdir(d, n)),
        (d.clone(), n.clone(), 0u8..3).prop_map(|(d, n, c)| Op::Write(d, n, c)),
        (d.clone(), n.clone(), d.clone(), n.clone()).prop_map(|(d, n, e, m)| Op::Link(d, n, e, m)),
        (d.clone(), n.clone()).prop_map(|(d, n)| Op::Unlink(d, n)),
        (d.clone(), n.clone()).prop_map(|(d, n)| Op::Rmdir(d, n)),
        (d.clone(), n.clone(), d, n, 0u8..3).prop_map(|(d, n, e, m, k)| Op::Rename(d, n, e, m, k)),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Thing {
    Dir(BTreeMap<u8, Ino>),
    File(u8),
}

#[derive(Debug)]
struct Model {
    things: BTreeMap<Ino, Thing>,
    root: Ino,
}

impl Model {
    fn dirs(&self) -> Vec<Ino> {
        self.things.iter().filter(|(_, t)| matches!(t, Thing::Dir(_))).map(|(i, _)| *i).collect()
    }

    fn names(&mut self, dir: Ino) -> &mut BTreeMap<u8, Ino> {
        match self.things.get_mut(&dir) {
            Some(Thing::Dir(names)) => names,
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, dir: Ino, n: u8) -> Option<Ino> {
        self.names(dir).get(&n).copied()
    }

    fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.things[&ino], Thing::Dir(_))
    }

    fn links(&self, ino: Ino) -> usize {
        let names = |t: &Thing| if let Thing::Dir(n) = t { n.values().filter(|i| **i == ino).count() } else { 0 };
        self.things.values().map(names).sum()
    }

    fn within(&self, dir: Ino, at: Ino) -> bool {
        at == dir || matches!(&self.things[&dir], Thing::Dir(n) if n.values().any(|i| self.within(*i, at)))
    }

    fn drop_name(&mut self, dir: Ino, n: u8) {
        let ino = self.names(dir).remove(&n).unwrap();
        if self.links(ino) == 0 {
            self.things.remove(&ino);
        }
    }

    fn rename(&mut self, (d, n): (Ino, u8), (e, m): (Ino, u8), mode: RenameMode) -> Result<(), Kind> {
        let source = self.get(d, n).ok_or(Kind::NotFound)?;
        let target = self.get(e, m);
        if d != e && self.within(source, e) {
            return Err(Kind::Invalid);
        }
        match (mode, target) {
            (RenameMode::Exchange, None) => return Err(Kind::NotFound),
            (RenameMode::Exchange, Some(t)) if d != e && self.within(t, d) => return Err(Kind::Invalid),
            (RenameMode::NoReplace, Some(_)) => return Err(Kind::Exists),
            (_, Some(t)) if t == source => return Ok(()),
            (RenameMode::Exchange, Some(t)) => {
                self.names(d).insert(n, t);
                self.names(e).insert(m, source);
                return Ok(());
            }
            (_, Some(t)) => {
                match (self.is_dir(source), self.is_dir(t)) {
                    (true, false) => return Err(Kind::NotADirectory),
                    (false, true) => return Err(Kind::IsADirectory),
                    (true, true) if !self.names(t).is_empty() => return Err(Kind::NotEmpty),
                    _ => {}
                }
                self.drop_name(e, m);
            }
            (_, None) => {}
        }
        self.names(d).remove(&n);
        self.names(e).insert(m, source);
        Ok(())
    }
}

fn text(n: u8) -> String {
    format!("n{n}")
}

/// Applies to both and compares the outcome.
async fn step(w: &World, model: &mut Model, op: &Op) {
    let dirs = model.dirs();
    let dir = |d: usize| dirs[d % dirs.len()];
    let (expected, seen) = match *op {
        Op::Mkdir(d, n) => {
            let new = w.node(dir(d), &text(n), NodeKind::Dir);
            let ino = new.ino;
            let expected = if model.get(dir(d), n).is_some() { Err(Kind::Exists) } else { Ok(()) };
            if expected.is_ok() {
                model.names(dir(d)).insert(n, ino);
                model.things.insert(ino, Thing::Dir(BTreeMap::new()));
            }
            (expected, w.cat.make(w.origin, new).await.map(drop))
        }
        Op::Write(d, n, c) => {
            let x = w.birth(dir(d), &text(n), format!("content {c}").as_bytes());
            let expected = match model.get(dir(d), n) {
                Some(ino) if model.is_dir(ino) => Err(Kind::IsADirectory),
                Some(ino) => Ok(drop(model.things.insert(ino, Thing::File(c)))),
                None => {
                    model.names(dir(d)).insert(n, x.ino);
                    Ok(drop(model.things.insert(x.ino, Thing::File(c))))
                }
            };
            let seen = w.try_commit(x).await.map(drop).map_err(|e| match e {
                outputfs::catalog::CommitError::Failed(e) => e,
                outputfs::catalog::CommitError::BlobGone => panic!("stored"),
            });
            (expected, seen)
        }
        Op::Link(d, n, e, m) => {
            let Some(ino) = model.get(dir(d), n) else { return };
            let expected = if model.is_dir(ino) {
                Err(Kind::Reserved)
            } else if model.get(dir(e), m).is_some() {
                Err(Kind::Exists)
            } else {
                model.names(dir(e)).insert(m, ino);
                Ok(())
            };
            (expected, w.cat.link(w.origin, ino, dir(e), name(&text(m)), w.number(), w.now()).await.map(drop))
        }
        Op::Unlink(d, n) => {
            let expected = match model.get(dir(d), n) {
                None => Err(Kind::NotFound),
                Some(ino) if model.is_dir(ino) => Err(Kind::IsADirectory),
                Some(_) => Ok(model.drop_name(dir(d), n)),
            };
            (expected, w.cat.unlink(w.origin, dir(d), &name(&text(n)), w.now()).await.map(drop))
        }
        Op::Rmdir(d, n) => {
            let expected = match model.get(dir(d), n) {
                None => Err(Kind::NotFound),
                Some(ino) if !model.is_dir(ino) => Err(Kind::NotADirectory),
                Some(ino) if !model.names(ino).is_empty() => Err(Kind::NotEmpty),
                Some(_) => Ok(model.drop_name(dir(d), n)),
            };
            (expected, w.cat.rmdir(w.origin, dir(d), &name(&text(n)), w.now()).await.map(drop))
        }
        Op::Rename(d, n, e, m, k) => {
            let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][usize::from(k)];
            let expected = model.rename((dir(d), n), (dir(e), m), mode);
            let (from, to) = (name(&text(n)), name(&text(m)));
            let cookies = (w.number(), w.number());
            let seen = w.cat.rename(w.origin, (dir(d), &from), (dir(e), &to), mode, cookies, w.now()).await;
            (expected, seen.map(drop))
        }
    };
    assert_eq!(seen.map_err(|e| e.kind), expected, "{op:?}");
}

/// The whole tree is as the model says.
async fn compare(w: &World, model: &mut Model) {
    for (ino, thing) in model.things.clone() {
        let node = w.stat(ino).await;
        match thing {
            Thing::Dir(names) => {
                let mut listed = w.names(ino).await;
                listed.sort();
                assert_eq!(listed, names.keys().map(|n| text(*n)).collect::<Vec<_>>());
                let subdirs = names.values().filter(|i| model.is_dir(**i)).count();
                assert_eq!(node.nlink as usize, 2 + subdirs, "directory {ino}");
                for (n, child) in names {
                    assert_eq!(w.lookup(ino, &text(n)).await.unwrap().ino, child);
                }
            }
            Thing::File(c) => {
                assert_eq!(node.nlink as usize, model.links(ino), "file {ino}");
                let (id, hash) = node.content.unwrap();
                assert_eq!(hash, super::world::hash(format!("content {c}").as_bytes()));
                // Filed under one of its names, and the newest of it.
                let a = w.artifact(id).await;
                let all = w
                    .cat
                    .find(
                        &outputfs::artifact::query::Query {
                            filename: Some(a.filename.clone()),
                            ..outputfs::artifact::query::Query::all(w.tenant.id)
                        },
                        w.now(),
                    )
                    .await
                    .unwrap();
                assert_eq!(all.artifacts, [a]);
            }
        }
    }
    let files = model.things.values().filter(|t| matches!(t, Thing::File(_))).count();
    let usage = w.cat.usage(w.tenant.id, w.now()).await.unwrap();
    assert_eq!(usage.artifacts as usize, files);
    assert_eq!(model.root, w.root());
    w.check().await;
}

pub async fn the_tree_behaves_as_its_model(w: &World) {
    // Each case is a session-long run of operations on one world; the seed is fixed so that a failure repeats.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let ops = proptest::collection::vec(op(), 1500).new_tree(&mut runner).unwrap().current();
    let mut model = Model { things: BTreeMap::from([(w.root(), Thing::Dir(BTreeMap::new()))]), root: w.root() };
    for (n, op) in ops.iter().enumerate() {
        step(w, &mut model, op).await;
        if n % 50 == 0 {
            compare(w, &mut model).await;
        }
    }
    compare(w, &mut model).await;
}
