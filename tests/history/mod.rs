//! Eight programs at once through two mounts, the command line and the REST API, with refusals by seal and quota and
//! kills of daemons in between; what they recorded is judged by [`checker`].
//!
//! `OUTPUTFS_TEST_HISTORY_SECONDS` says for how long; `OUTPUTFS_TEST_HISTORY_SEED` repeats the programs' choices, and
//! `OUTPUTFS_TEST_HISTORY_KEEP` names a folder for the recording of a run that failed.

mod bad;
mod checker;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::{MountOptions, Sandbox, Store, TestMount, wait_until, with_deadline};
use checker::{Entries, Event, Fault, Kind, Rules};

const WORKERS: [&str; 8] = ["w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7"];
/// What one mount does shows on the others within a second; a debug build on a busy machine gets more.
const LAG: Duration = Duration::from_secs(2);
/// Of one episode: a fresh store, mounts, programs.
const EPISODE: Duration = Duration::from_secs(60);
const FILE_MAX: &str = "2MiB";

/// Python's `time.monotonic_ns()`.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills in the structure that it is given.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) }, 0);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// `outputfs serve`, on one port through all its lives.
struct Served {
    child: Child,
    base: String,
}

impl Served {
    fn start(sandbox: &Sandbox, address: &str) -> Self {
        let mut command = sandbox.outputfs("serve");
        let mut child = command.args(["--http", address]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let base = with_deadline(Duration::from_secs(30), move || {
            let base = lines
                .find_map(|line| line.ok()?.split_once("links are served at ").map(|(_, base)| base.trim().to_owned()));
            // Read on, so that it never waits for its log.
            std::thread::spawn(move || lines.for_each(drop));
            base
        });
        Self { child, base: base.flatten().expect("outputfs serve says where") }
    }
    fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill9();
    }
}

struct Episode {
    sandbox: Arc<Sandbox>,
    mounts: [TestMount; 2],
    served: Served,
    key: String,
    current: PathBuf,
    random: StdRng,
    events: Vec<Value>,
}

impl Episode {
    fn new(store: Store, passthrough: bool, seed: u64) -> Self {
        let sandbox = Arc::new(Sandbox::new(store));
        let options = MountOptions::new().args(&["--gc-interval", "2s", "--version-window", "off"]);
        let a = TestMount::of(&sandbox, options.clone());
        sandbox.cli("quota", &["set", "--file-bytes", FILE_MAX]);
        let b = TestMount::of(&sandbox, if passthrough { options } else { options.no_passthrough() });
        let key: Value = serde_json::from_str(&sandbox.cli("key", &["create", "--json"])).unwrap();
        let served = Served::start(&sandbox, "127.0.0.1:0");
        let current = sandbox.path().join("current");
        let key = key["key"].as_str().unwrap().to_owned();
        Self { sandbox, mounts: [a, b], served, key, current, random: StdRng::seed_from_u64(seed), events: Vec::new() }
    }
    fn log(&self, worker: &str) -> PathBuf {
        self.sandbox.path().join(format!("{worker}.jsonl"))
    }
    fn say(&self, session: &str) {
        let new = self.current.with_extension("new");
        std::fs::write(&new, session).unwrap();
        std::fs::rename(&new, &self.current).unwrap();
    }
    fn begin(&mut self, session: &str) {
        std::fs::create_dir(self.mounts[0].join(session)).unwrap();
        wait_until("the session on the other mount", LAG, || self.mounts[1].join(session).exists());
        // A session without artifacts is none to the REST API.
        let (start, tag, path) = (now(), format!("first-{session}"), format!("{session}/first"));
        std::fs::write(self.mounts[0].join(&path), checker::content(&tag, 100)).unwrap();
        let act = json!({"op": "write", "path": path, "tag": tag, "size": 100, "in_place": true, "outcome": "ok"});
        self.record(start, "a", act);
        self.say(session);
    }
    fn spawn(&mut self) -> Vec<Child> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/history/worker.py");
        let seeds: Vec<u64> = WORKERS.iter().map(|_| self.random.random()).collect();
        let of = |(id, seed): (&&str, u64)| {
            let config = json!({
                "id": id, "seed": seed, "all": WORKERS, "log": self.log(id), "current": self.current,
                "mounts": {"a": self.mounts[0].path(), "b": self.mounts[1].path()},
                "binary": env!("CARGO_BIN_EXE_outputfs"), "store": self.sandbox.store_args(),
                "base": self.served.base, "key": self.key,
            });
            let mut python = self.sandbox.program("python3");
            python.arg(&script).arg(config.to_string()).stderr(Stdio::piped()).spawn().unwrap()
        };
        WORKERS.iter().zip(seeds).map(of).collect()
    }
    fn record(&mut self, start: u64, door: &str, act: Value) {
        let mut event = act;
        for (name, value) in
            [("by", json!("test")), ("door", json!(door)), ("start", json!(start)), ("end", json!(now()))]
        {
            event[name] = value;
        }
        self.events.push(event);
    }
    fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        // The programs work meanwhile; nothing waits for what they do.
        std::thread::sleep(Duration::from_millis(self.random.random_range(milliseconds)));
    }

    /// kill -9 of one daemon, and a new one in its place.
    fn kill(&mut self, which: usize) {
        let start = now();
        if let Some(mount) = self.mounts.get_mut(which) {
            mount.kill9();
            mount.remount();
            self.record(start, ["a", "b"][which], json!({"op": "down"}));
        } else {
            self.served.kill9();
            let address = self.served.base.trim_start_matches("http://").to_owned();
            self.served = Served::start(&self.sandbox, &address);
            self.record(start, "rest", json!({"op": "down"}));
        }
    }
    /// For a moment nothing may be added.
    fn squeeze(&mut self) {
        self.sandbox.cli("quota", &["set", "--bytes", "1"]);
        self.pause(100..500);
        self.sandbox.cli("quota", &["set", "--bytes", "none"]);
    }
    fn seal(&mut self, session: &str, door: usize) {
        let start = now();
        match door {
            0 | 1 => drop(self.mounts[door].ctl_in(session, "seal").unwrap()),
            2 => drop(self.sandbox.cli("seal", &[session])),
            _ => {
                let url = format!("{}/v1/sessions/{session}/seal", self.served.base);
                let answer = ureq::post(&url).header("Authorization", format!("Bearer {}", self.key)).send_empty();
                assert!(answer.is_ok(), "{answer:?}");
            }
        }
        self.record(start, ["a", "b", "cli", "rest"][door], json!({"op": "seal", "session": session}));
    }
    fn manifest(&mut self, session: &str, mount: usize) {
        let start = now();
        let path = self.mounts[mount].join(session).join(".manifest.json");
        let mut entries = Entries::new();
        wait_until("the manifest", LAG, || path.exists());
        let manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for a in manifest["artifacts"].as_array().unwrap() {
            let entry = json!({"size": a["size_bytes"], "hash": a["content_hash"]});
            let path = format!("{session}/{}", a["filename"].as_str().unwrap());
            entries.insert(path, serde_json::from_value(entry).unwrap());
        }
        let entries: BTreeMap<_, _> =
            entries.iter().map(|(path, e)| (path, json!({"size": e.size, "hash": e.hash}))).collect();
        self.record(start, "cli", json!({"op": "manifest", "session": session, "entries": entries}));
    }

    fn run(&mut self, length: Duration) -> (Vec<String>, Vec<Child>) {
        let begin = Instant::now();
        let (mut sessions, mut workers) = (Vec::new(), Vec::new());
        while begin.elapsed() < length {
            let round = sessions.len();
            let session = format!("h{round}");
            self.begin(&session);
            if workers.is_empty() {
                workers = self.spawn();
            }
            self.pause(800..2500);
            match round % 4 {
                1 => self.kill(round / 4 % 3),
                2 => self.squeeze(),
                _ => {}
            }
            self.pause(100..800);
            let door = self.random.random_range(0..4);
            self.seal(&session, door);
            // The programs go on in it, and are refused.
            let mount = self.random.random_range(0..2);
            self.manifest(&session, mount);
            self.pause(100..400);
            sessions.push(session);
        }
        (sessions, workers)
    }
}

/// What the episode's programs recorded, with what the test itself did.
fn history(episode: &Episode) -> Vec<Event> {
    let mut events: Vec<Event> = episode
        .events
        .iter()
        .map(|e| serde_json::from_value(e.clone()).unwrap_or_else(|x| panic!("{x}: {e}")))
        .collect();
    let logs = WORKERS.iter().map(|w| (*w).to_owned()).chain(["last".to_owned()]);
    for log in logs {
        let text = std::fs::read_to_string(episode.log(&log)).unwrap();
        events.extend(text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{log}: {e}: {l}"))));
    }
    events.sort_by_key(|e: &Event| e.start);
    events
}

fn report(events: &[Event], faults: &[Fault]) -> String {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for fault in faults {
        *counts.entry(fault.kind).or_default() += 1;
    }
    let mut text = format!("{counts:?}\n");
    for fault in faults.iter().take(12) {
        writeln!(text, "{:?}: {}", fault.kind, fault.text).unwrap();
        let about = events.iter().filter(|e| format!("{:?}", e.act).contains(&format!("path: \"{}\"", fault.place)));
        for e in about {
            writeln!(text, "    {}..{} {} {} {:?}", e.start / 1000, e.end / 1000, e.by, e.door, e.act).unwrap();
        }
    }
    text
}

fn episode(store: Store, passthrough: bool, seed: u64, length: Duration) {
    let mut episode = Episode::new(store, passthrough, seed);
    let (sessions, workers) = episode.run(length);
    episode.say("stop");
    for worker in workers {
        let out = with_deadline(Duration::from_secs(120), move || worker.wait_with_output().unwrap());
        let out = out.expect("a program ends when it is told to");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    // All that is left to be seen everywhere is seen by then.
    std::thread::sleep(LAG + Duration::from_millis(500));
    let config = json!({
        "id": "last", "seed": 0, "all": WORKERS, "log": episode.log("last"), "current": episode.current,
        "mounts": {"a": episode.mounts[0].path(), "b": episode.mounts[1].path()},
        "binary": env!("CARGO_BIN_EXE_outputfs"), "store": episode.sandbox.store_args(),
        "base": episode.served.base, "key": episode.key, "sessions": sessions,
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/history/worker.py");
    let out = episode.sandbox.program("python3").arg(&script).arg(config.to_string()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));

    let events = history(&episode);
    let rules = Rules { lag: u64::try_from(LAG.as_nanos()).unwrap(), cached: if passthrough { &[] } else { &["b"] } };
    let faults = checker::faults(&events, rules);
    let name = format!(
        "{store:?} passthrough {passthrough} seed {seed}: {} sessions, {} events",
        sessions.len(),
        events.len()
    );
    println!("{name}");
    for e in &episode.events {
        println!("{e:.160}");
    }
    if !faults.is_empty() {
        if let Some(keep) = std::env::var_os("OUTPUTFS_TEST_HISTORY_KEEP") {
            let lines: Vec<String> = events.iter().map(|e| format!("{e:?}")).collect();
            std::fs::write(Path::new(&keep).join(format!("history-{seed}")), lines.join("\n")).unwrap();
        }
        panic!("{name}: {}", report(&events, &faults));
    }
    for session in &sessions {
        episode.sandbox.cli("verify", &[session]);
    }
    episode.sandbox.cli("check", &["--read-data"]);
}

#[test]
fn eight_programs_through_every_door() {
    let number =
        |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().unwrap_or_else(|e| panic!("{name}: {e}")));
    let seed = number("OUTPUTFS_TEST_HISTORY_SEED");
    let length = Duration::from_secs(number("OUTPUTFS_TEST_HISTORY_SECONDS").unwrap_or(40));
    let begin = Instant::now();
    let mut n = 0;
    while n == 0 || begin.elapsed() < length {
        let store = if n % 3 == 2 { Store::S3 } else { Store::Local };
        episode(store, n % 2 == 0, seed.unwrap_or_else(rand::random).wrapping_add(n), EPISODE.min(length));
        n += 1;
    }
}
