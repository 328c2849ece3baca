//! The same random operations by several processes on a mount and on a plain directory: names, bytes, sizes, modes,
//! owners, attributes and errno must agree after every step. What fails is shrunk, and its seed kept beside this file.

mod agents;

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use serde_json::{Value, json};

use crate::support::wait::with_deadline;
use crate::support::{MountOptions, Store, TestMount};

const ACTOR: &str = include_str!("actor.py");
const ACTORS: usize = 2;
/// An answer that takes longer is a hang.
const ANSWER: Duration = Duration::from_secs(90);

/// One operation by one process.
#[derive(Clone)]
struct Step {
    actor: usize,
    op: Value,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.actor, self.op)
    }
}

/// Which descriptors are open: most steps then have something to work on.
#[derive(Clone, Debug, Default)]
struct Open(Vec<(usize, u8)>);

struct Machine;

fn path() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("a"), 4 => Just("b"), 2 => Just("c"), 2 => Just("d"), 2 => Just("d/a"), 2 => Just("d/b"),
        1 => Just("e"), 1 => Just("e/a"), 1 => Just("d/e"), 1 => Just("d/e/a"),
    ]
}

fn flags() -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => Just(json!(["O_WRONLY", "O_CREAT", "O_TRUNC"])),
        3 => Just(json!(["O_RDWR", "O_CREAT"])),
        3 => Just(json!(["O_WRONLY", "O_CREAT", "O_APPEND"])),
        2 => Just(json!(["O_RDWR"])),
        2 => Just(json!(["O_RDONLY"])),
        1 => Just(json!(["O_RDWR", "O_CREAT", "O_EXCL"])),
        1 => Just(json!(["O_RDONLY", "O_DIRECTORY"])),
        1 => Just(json!(["O_RDWR", "O_TRUNC"])),
        1 => Just(json!(["O_RDWR", "O_APPEND"])),
    ]
}

/// Around the sizes where something changes: a page, what rides in the catalog, a chunk of the follower's reads.
fn length() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..200_u32, 2 => 4000..4200_u32, 2 => 16_000..17_000_u32, 1 => 100_000..140_000_u32]
}

fn on_a_descriptor(slot: u8) -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (any::<u8>(), length()).prop_map(move |(b, n)| json!(["write", slot, b, n])),
        3 => (any::<u8>(), length(), length()).prop_map(move |(b, n, at)| json!(["pwrite", slot, b, n, at])),
        2 => (length(), length()).prop_map(move |(n, at)| json!(["pread", slot, n, at])),
        1 => Just(json!(["fstat", slot])),
        2 => length().prop_map(move |n| json!(["ftruncate", slot, n])),
        1 => Just(json!(["fsync", slot])),
        2 => Just(json!(["dupclose", slot])),
        2 => length().prop_map(move |at| json!(["mapwrite", slot, at, "MAPPED"])),
        1 => any::<bool>().prop_map(move |on| json!(["append", slot, on])),
        1 => (length(), 1..9000_u32).prop_map(move |(at, n)| json!(["fallocate", slot, at, n])),
        1 => Just(json!(["end", slot])),
        1 => (0..3_u8, length(), length(), length()).prop_map(move |(to, n, a, b)| json!(["copy", slot, to, n, a, b])),
        1 => Just(json!(["lock", slot])),
        1 => Just(json!(["unlock", slot])),
        6 => Just(json!(["close", slot])),
    ]
}

/// Between names for artifacts and names for scratch: directories, links and files, when nobody has a file open.
fn over_the_border() -> impl Strategy<Value = Value> {
    let scratch = || {
        prop_oneof![
            Just("__pycache__"),
            Just("__pycache__/a"),
            Just("__pycache__/d"),
            Just("l.tmp"),
            Just("d/__pycache__")
        ]
    };
    let from = prop_oneof![Just("__pycache__"), Just("d/__pycache__")];
    prop_oneof![
        4 => (path(), scratch()).prop_map(|(a, b)| json!(["cross", a, b])),
        4 => (scratch(), path()).prop_map(|(a, b)| json!(["cross", a, b])),
        2 => from.prop_map(|p| json!(["mkdir", p, 0o755])),
        1 => (path(), Just("l.tmp")).prop_map(|(a, b)| json!(["symlink", a, b])),
    ]
}

fn on_a_path() -> impl Strategy<Value = Value> {
    let mode = || prop_oneof![Just(0o644), Just(0o600), Just(0o755), Just(0o400), Just(0o1777)];
    let key = || {
        prop_oneof![
            Just("user.stage"),
            Just("user.k"),
            Just("user.model"),
            Just("user.xdg.origin:url"),
            Just("user.9 ü")
        ]
    };
    prop_oneof![
        2 => path().prop_map(|p| json!(["mkdir", p, 0o755])),
        1 => path().prop_map(|p| json!(["rmdir", p])),
        3 => path().prop_map(|p| json!(["unlink", p])),
        5 => (path(), path()).prop_map(|(a, b)| json!(["rename", a, b])),
        2 => (path(), path()).prop_map(|(a, b)| json!(["link", a, b])),
        1 => (path(), path()).prop_map(|(a, b)| json!(["symlink", a, b])),
        2 => (path(), mode()).prop_map(|(p, m)| json!(["chmod", p, m])),
        2 => (path(), length()).prop_map(|(p, n)| json!(["truncate", p, n])),
        1 => (path(), 1_000_000_001..2_000_000_000_000_000_000_u64).prop_map(|(p, t)| json!(["times", p, t, t])),
        2 => (path(), key(), "[a-z\\x00]{0,20}").prop_map(|(p, k, v)| json!(["setxattr", p, k, v])),
        1 => (path(), key()).prop_map(|(p, k)| json!(["removexattr", p, k])),
        1 => path().prop_map(|p| json!(["shape", p])),
        1 => path().prop_map(|p| json!(["list", p])),
        2 => path().prop_map(|p| json!(["body", p])),
    ]
}

impl ReferenceStateMachine for Machine {
    type State = Open;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Open> {
        Just(Open::default()).boxed()
    }

    fn transitions(open: &Open) -> BoxedStrategy<Step> {
        let opening = (0..ACTORS, 0..3_u8, path(), flags())
            .prop_map(|(actor, slot, p, f)| Step { actor, op: json!(["open", slot, p, f, 0o644]) });
        let by_path = (0..ACTORS, on_a_path()).prop_map(|(actor, op)| Step { actor, op });
        if open.0.is_empty() {
            let crossing = (0..ACTORS, over_the_border()).prop_map(|(actor, op)| Step { actor, op });
            return prop_oneof![3 => opening, 2 => by_path, 2 => crossing].boxed();
        }
        let used = prop::sample::select(open.0.clone())
            .prop_flat_map(|(actor, slot)| on_a_descriptor(slot).prop_map(move |op| Step { actor, op }));
        prop_oneof![2 => opening, 3 => by_path, 5 => used].boxed()
    }

    fn apply(mut open: Open, step: &Step) -> Open {
        let slot = step.op[1].as_u64().and_then(|n| u8::try_from(n).ok());
        match (step.op[0].as_str(), slot) {
            (Some("open"), Some(slot)) if !open.0.contains(&(step.actor, slot)) => open.0.push((step.actor, slot)),
            (Some("close"), Some(slot)) => open.0.retain(|o| *o != (step.actor, slot)),
            _ => {}
        }
        open
    }
}

/// A process at work in one directory.
struct Actor {
    child: Child,
    stdin: ChildStdin,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Actor {
    fn start(m: &TestMount, dir: &Path) -> Self {
        Self::run(m, dir, ACTOR, &[])
    }

    fn run(m: &TestMount, dir: &Path, script: &str, env: &[(&str, &str)]) -> Self {
        let mut c = m.sandbox().program("python3");
        c.args(["-c", script]).envs(env.iter().copied()).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = c.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdin, stdout }
    }

    fn ask(&mut self, op: &Value) -> Value {
        writeln!(self.stdin, "{op}").unwrap();
        let mut stdout = self.stdout.take().expect("the last answer came");
        let answer = with_deadline(ANSWER, move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            (stdout, line)
        });
        let (stdout, line) = answer.unwrap_or_else(|| panic!("no answer within {ANSWER:?} to {op}"));
        self.stdout = Some(stdout);
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{op}: {e}: {line:?}"))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Ended by us, or gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The mount and the plain directory, in which each case gets a folder of its own.
struct World {
    m: TestMount,
    plain: PathBuf,
    cases: Cell<u32>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

struct Sides {
    ours: Vec<Actor>,
    theirs: Vec<Actor>,
    steps: usize,
}

impl Sides {
    fn same(&mut self, actor: usize, op: &Value, when: &str) {
        let (ours, theirs) = (self.ours[actor].ask(op), self.theirs[actor].ask(op));
        assert!(
            ours == theirs,
            "{when}: process {actor}: {op}\n   mount {}\n   plain {}",
            short(&ours),
            short(&theirs)
        );
    }
}

fn short(v: &Value) -> String {
    let text = v.to_string();
    if text.len() > 1200 { format!("{}… ({} bytes)", &text[..1200], text.len()) } else { text }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Sides;
    type Reference = Machine;

    fn init_test(_: &Open) -> Sides {
        WORLD.with_borrow(|world| {
            let world = world.as_ref().expect("a mount");
            world.cases.set(world.cases.get() + 1);
            let start = |base: &Path| {
                let dir = base.join(format!("case{}", world.cases.get()));
                std::fs::create_dir(&dir).unwrap();
                (0..ACTORS).map(|_| Actor::start(&world.m, &dir)).collect()
            };
            Sides { ours: start(world.m.path()), theirs: start(&world.plain), steps: 0 }
        })
    }

    fn apply(mut sides: Sides, _: &Open, step: Step) -> Sides {
        sides.steps += 1;
        sides.same(step.actor, &step.op, &format!("step {}", sides.steps));
        let changed = step.op.to_string();
        sides.same(1 - step.actor, &json!(["tree"]), &format!("after step {}, {changed}", sides.steps));
        sides
    }

    fn teardown(mut sides: Sides, _: Open) {
        for actor in 0..ACTORS {
            for slot in 0..3 {
                sides.same(actor, &json!(["close", slot]), "closing at the end");
            }
        }
        sides.same(0, &json!(["tree"]), "at the end");
    }
}

/// How many random cases: OUTPUTFS_TEST_CASES is for a long hunt.
fn cases(full: u32, quick: u32) -> u32 {
    let asked = std::env::var("OUTPUTFS_TEST_CASES").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(if std::env::var_os("OUTPUTFS_TEST_QUICK").is_some() { quick } else { full })
}

/// Every byte and record of the mount's store is as it should be.
fn checked(m: &TestMount) {
    let out = m.sandbox().outputfs("check").arg("--read-data").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

fn drive(store: Store, options: MountOptions, full: u32) {
    let m = TestMount::with(store, options.session("s1"));
    let plain = m.sandbox().path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    WORLD.set(Some(World { m, plain, cases: Cell::new(0) }));
    let kept =
        FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/model/regressions.txt"));
    let config = Config {
        cases: cases(full, 6),
        failure_persistence: Some(Box::new(kept)),
        max_shrink_iters: 300,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config.clone());
    let result = runner.run(&Machine::sequential_strategy(1..60), |(state, steps, seen)| {
        Machine::test_sequential(config.clone(), state, steps, seen);
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
    drive(Store::Local, MountOptions::new(), 60);
}

#[test]
fn local_without_passthrough() {
    drive(Store::Local, MountOptions::new().no_passthrough(), 60);
}

#[test]
fn s3() {
    drive(Store::S3, MountOptions::new(), 25);
}

#[test]
fn s3_durability_fsync() {
    drive(Store::S3, MountOptions::new().durability_fsync(), 15);
}

#[test]
fn s3_durability_local() {
    drive(Store::S3, MountOptions::new().durability_local(), 25);
}
