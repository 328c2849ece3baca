//! Two agents, one of them in two processes, write, append to and label the same paths while every door hands IDs out: which versions
//! there are must be what the contract says, and an ID that was handed out never goes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use serde_json::{Value, json};

use super::{Actor, cases, checked};
use crate::support::{MountOptions, Store, TestMount};

const SCRIPT: &str = include_str!("agents.py");
/// The agent of each process.
const AGENTS: [&str; 3] = ["a", "a", "b"];
const PATHS: [&str; 3] = ["x", "y", "d/x"];

#[derive(Clone, Copy, Debug)]
enum Door {
    Attribute,
    ById,
    Versions,
    Ls,
    Inspect,
}

#[derive(Clone, Debug)]
enum Step {
    Write { by: usize, path: &'static str, text: String },
    Append { by: usize, path: &'static str, text: String },
    Label { by: usize, path: &'static str, stage: String },
    Tell { by: usize, path: &'static str, door: Door },
}

#[derive(Clone, Debug)]
struct Version {
    text: String,
    by: usize,
    told: bool,
}

/// What a path has: its versions, the last is the one that stands; and the label set by hand, which goes with the path.
#[derive(Clone, Debug, Default)]
struct Kept {
    versions: Vec<Version>,
    stage: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    paths: BTreeMap<&'static str, Kept>,
    written: u32,
}

impl Model {
    /// A version takes the place of one that the same process made and of which nobody was told.
    fn save(&mut self, by: usize, path: &'static str, text: String) {
        self.written += 1;
        let versions = &mut self.paths.entry(path).or_default().versions;
        if versions.last().is_some_and(|v| v.by == by && !v.told) {
            versions.pop();
        }
        versions.push(Version { text, by, told: false });
    }

    fn stands(&self, path: &str) -> Option<&Version> {
        self.paths.get(path).and_then(|k| k.versions.last())
    }
}

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        // (No bytes twice: they would change nothing.)
        let text = format!("{};", model.written);
        let (by, path) = (0..AGENTS.len(), prop::sample::select(PATHS.to_vec()));
        let append = text.clone();
        let saving = prop_oneof![
            3 => (by.clone(), path.clone()).prop_map(move |(by, path)| Step::Write { by, path, text: text.clone() }),
            1 => (by.clone(), path).prop_map(move |(by, path)| Step::Append { by, path, text: append.clone() }),
        ];
        let there: Vec<_> = model.paths.keys().copied().collect();
        if there.is_empty() {
            return saving.boxed();
        }
        let path = prop::sample::select(there);
        let label =
            (by.clone(), path.clone(), "[a-z]{1,8}").prop_map(|(by, path, stage)| Step::Label { by, path, stage });
        let doors = vec![Door::Attribute, Door::ById, Door::Versions, Door::Ls, Door::Inspect];
        let tell = (by, path, prop::sample::select(doors)).prop_map(|(by, path, door)| Step::Tell { by, path, door });
        prop_oneof![6 => saving, 1 => label, 2 => tell].boxed()
    }

    fn apply(mut model: Model, step: &Step) -> Model {
        match step.clone() {
            Step::Write { by, path, text } => model.save(by, path, text),
            Step::Append { by, path, text } => {
                let before = model.stands(path).map(|v| v.text.clone()).unwrap_or_default();
                model.save(by, path, before + &text);
            }
            Step::Label { path, stage, .. } => model.paths.entry(path).or_default().stage = Some(stage),
            Step::Tell { path, door, .. } => {
                for (at, kept) in &mut model.paths {
                    // These list the whole session; the others tell of the path that they were asked about.
                    if matches!(door, Door::ById | Door::Ls) || *at == path {
                        kept.versions.iter_mut().for_each(|v| v.told = true);
                    }
                }
            }
        }
        model
    }

    fn preconditions(model: &Model, step: &Step) -> bool {
        match step {
            Step::Label { path, .. } | Step::Tell { path, .. } => model.paths.contains_key(path),
            Step::Write { .. } | Step::Append { .. } => true,
        }
    }
}

struct World {
    m: TestMount,
    cases: Cell<u32>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

struct Session {
    name: String,
    agents: Vec<Actor>,
    /// What was handed out, and what it stands for.
    told: BTreeMap<String, String>,
}

impl Session {
    fn ask(&mut self, by: usize, op: &Value) -> Value {
        self.agents[by].ask(op)
    }

    /// IDs that a command prints of the session, by path.
    fn printed(&self, command: &str, of: &str) -> Vec<(String, String)> {
        let out = WORLD.with_borrow(|world| {
            let sandbox = world.as_ref().expect("a mount").m.sandbox();
            sandbox.outputfs(command).args([of, "--json"]).output().unwrap()
        });
        assert!(out.status.success(), "{command} {of}: {}", String::from_utf8_lossy(&out.stderr));
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        let items = said.as_array().cloned().unwrap_or_else(|| vec![said]);
        let text = |v: &Value| v.as_str().unwrap_or_else(|| panic!("{command}: {v}")).to_owned();
        items
            .iter()
            .filter(|i| !i["artifact_id"].is_null())
            .map(|i| (text(&i["filename"]), text(&i["artifact_id"])))
            .collect()
    }

    fn tell(&mut self, model: &Model, by: usize, path: &str, door: Door) {
        let stands = |path: &str| model.stands(path).map(|v| v.text.clone()).expect("it stands");
        let heard: Vec<(String, String)> = match door {
            Door::Attribute => vec![(text(&self.ask(by, &json!(["id", path]))), stands(path))],
            Door::Inspect => {
                let printed = self.printed("inspect", &format!("{}/{path}", self.name));
                printed.into_iter().map(|(_, id)| (id, stands(path))).collect()
            }
            Door::Ls => {
                let printed = self.printed("ls", &self.name);
                assert_eq!(printed.len(), model.paths.len(), "{printed:?}");
                printed.into_iter().map(|(at, id)| (id, stands(&at))).collect()
            }
            Door::ById => {
                let ids = self.ask(by, &json!(["by-id"]));
                let ids: Vec<String> = ids.as_array().expect("a list").iter().map(text).collect();
                ids.into_iter()
                    .map(|id| (id.clone(), text(&self.ask(by, &json!(["read", format!(".by-id/{id}")])))))
                    .collect()
            }
            Door::Versions => {
                self.ask(by, &json!(["id", path]));
                let pairs = self.ask(by, &json!(["earlier", path]));
                let pairs = pairs.as_array().expect("a list").iter();
                pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
            }
        };
        assert!(!heard.is_empty() || matches!(door, Door::Versions), "{door:?} told of nothing");
        for (id, text) in heard {
            if let Some(before) = self.told.insert(id.clone(), text.clone()) {
                assert_eq!(before, text, "{id} by {door:?}");
            }
        }
    }

    /// Everything that was handed out is there, and is what it was.
    fn holds(&mut self, when: &str) {
        for (id, said) in self.told.clone() {
            assert_eq!(text(&self.ask(0, &json!(["read", format!(".by-id/{id}")]))), said, "{id} {when}");
        }
    }
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_else(|| panic!("not a text: {v}")).to_owned()
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Session;
    type Reference = Machine;

    fn init_test(_: &Model) -> Session {
        WORLD.with_borrow(|world| {
            let world = world.as_ref().expect("a mount");
            world.cases.set(world.cases.get() + 1);
            let name = format!("case{}", world.cases.get());
            let dir = world.m.path().join(&name);
            std::fs::create_dir_all(dir.join("d")).unwrap();
            let start = |agent: &&str| Actor::run(&world.m, Path::new(&dir), SCRIPT, &[("OUTPUTFS_AGENT_ID", agent)]);
            Session { name, agents: AGENTS.iter().map(start).collect(), told: BTreeMap::new() }
        })
    }

    fn apply(mut session: Session, model: &Model, step: Step) -> Session {
        match &step {
            Step::Write { by, path, text } => drop(session.ask(*by, &json!(["write", path, text]))),
            Step::Append { by, path, text } => drop(session.ask(*by, &json!(["append", path, text]))),
            Step::Label { by, path, stage } => drop(session.ask(*by, &json!(["label", path, stage]))),
            Step::Tell { by, path, door } => session.tell(model, *by, path, *door),
        }
        session.holds(&format!("after {step:?}"));
        session
    }

    fn teardown(mut session: Session, model: Model) {
        for (path, kept) in &model.paths {
            let stands = kept.versions.last().expect("it stands");
            assert_eq!(text(&session.ask(2, &json!(["read", path]))), stands.text, "{path}");
            assert_eq!(text(&session.ask(2, &json!(["agent", path]))), AGENTS[stands.by], "{path}: whose it is");
            if let Some(stage) = &kept.stage {
                assert_eq!(
                    &text(&session.ask(2, &json!(["stage", path]))),
                    stage,
                    "{path}: what was set by hand goes on"
                );
            }
            let listed = session.ask(1, &json!(["earlier", path]));
            let mut there: Vec<String> = listed.as_array().expect("a list").iter().map(|pair| text(&pair[1])).collect();
            if there.last() != Some(&stands.text) {
                there.push(stands.text.clone());
            }
            let expected: Vec<String> = kept.versions.iter().map(|v| v.text.clone()).collect();
            assert_eq!(there, expected, "the versions of {path}: {kept:?}");
        }
    }
}

fn drive(store: Store, options: MountOptions) {
    let m = TestMount::with(store, options.args(&["--version-window", "1h", "--keep-versions", "all"]));
    WORLD.set(Some(World { m, cases: Cell::new(0) }));
    let config = Config { cases: cases(25, 4), failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new(config.clone());
    let result = runner.run(&Machine::sequential_strategy(1..40), |(model, steps, seen)| {
        Machine::test_sequential(config.clone(), model, steps, seen);
        Ok(())
    });
    let world = WORLD.take().expect("the world is back");
    if let Err(e) = result {
        panic!("{e}");
    }
    checked(&world.m);
}

#[test]
fn local() {
    drive(Store::Local, MountOptions::new());
}

#[test]
fn local_without_passthrough() {
    drive(Store::Local, MountOptions::new().no_passthrough());
}

#[test]
fn s3() {
    drive(Store::S3, MountOptions::new());
}
