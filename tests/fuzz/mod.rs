//! Untrusted bytes against everything that reads them: no panic, no deep stack, no long time, and what is said stays well-formed.
//!
//! One test a reader, each with a few seeds that are changed at random for `OUTPUTFS_FUZZ_SECONDS` (3; `scripts/test --long`: 120).
//! Random, but the same in each run by `PROPTEST_RNG_SEED`; a failure prints the input, which becomes a seed here.

mod doors;

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use outputfs::artifact::aside::Aside;
use outputfs::artifact::ids::{ArtifactId, BlobHash};
use outputfs::artifact::ignore::IgnoreRules;
use outputfs::artifact::metadata::Metadata;
use outputfs::artifact::name::{Name, SessionName, display_bytes, split_path};
use outputfs::artifact::time::{Timestamp, Ttl};
use outputfs::artifact::{control, manifest, query, xattr};
use outputfs::http::api::input;
use outputfs::http::{disposition, range};
use outputfs::staging::journal::Journal;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// A reader that takes longer than this for some kilobytes has met its worst case. (A debug build on a busy machine.)
const SLOW: Duration = Duration::from_secs(5);
/// A thread of tokio's has 2 MiB; what recurses on input gets through less quickly.
const STACK: usize = 512 << 10;
const LARGEST: usize = 16 << 10;

pub fn seconds() -> Duration {
    let said = std::env::var("OUTPUTFS_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(said.unwrap_or(if std::env::var_os("OUTPUTFS_TEST_QUICK").is_some() { 1 } else { 3 }))
}

pub fn random() -> StdRng {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|s| s.parse().ok());
    StdRng::seed_from_u64(seed.unwrap_or_else(rand::random))
}

/// Seeds and pieces of the language that a reader reads.
pub struct Corpus {
    pub seeds: Vec<Vec<u8>>,
    pub pieces: Vec<Vec<u8>>,
}

impl Corpus {
    pub fn new(seeds: &[&[u8]], pieces: &[&str]) -> Self {
        // What breaks readers of any language.
        let any = [
            "",
            "\0",
            "\n",
            "\r\n",
            "\"",
            "\\",
            "'",
            "%",
            "%00",
            "\u{202e}",
            "\u{feff}",
            "ß",
            "🦀",
            "-1",
            "18446744073709551616",
        ];
        let any = any.iter().chain(pieces).map(|s| s.as_bytes().to_vec());
        let odd: [&[u8]; 3] = [b"\xff\xfe", b"\xc0\x80", b"\x1b[2J"];
        Self {
            seeds: seeds.iter().map(|s| s.to_vec()).collect(),
            pieces: any.chain(odd.iter().map(|o| o.to_vec())).collect(),
        }
    }

    /// A seed after some changes.
    pub fn next(&self, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.seeds.choose(random).cloned().unwrap_or_default();
        for _ in 0..random.random_range(0..8) {
            let at = random.random_range(0..=bytes.len());
            let to = random.random_range(at..=bytes.len().min(at + 64));
            match random.random_range(0..7) {
                0 => drop(bytes.splice(at..to, [])),
                1 => drop(bytes.splice(at..at, self.pieces.choose(random).cloned().unwrap_or_default())),
                2 => drop(bytes.splice(at..to, self.pieces.choose(random).cloned().unwrap_or_default())),
                3 if at < bytes.len() => bytes[at] = random.random(),
                4 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
                // Over and over: what nests and what counts.
                5 => {
                    let piece = bytes[at..to].to_vec();
                    let times = random.random_range(1..200);
                    drop(bytes.splice(at..at, piece.repeat(times)));
                }
                _ => {
                    let other = self.seeds.choose(random).cloned().unwrap_or_default();
                    let from = random.random_range(0..=other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
            }
            bytes.truncate(LARGEST);
        }
        bytes
    }
}

/// # Panics
/// At the first input that `reader` does not stand.
fn hammer(corpus: &Corpus, reader: impl Fn(&[u8]) + Send + Sync) {
    std::thread::scope(|threads| {
        let work = || {
            let mut random = random();
            let (end, mut rounds) = (Instant::now() + seconds(), 0_u64);
            while Instant::now() < end {
                let input = corpus.next(&mut random);
                let begun = Instant::now();
                let outcome = catch_unwind(AssertUnwindSafe(|| reader(&input)));
                assert!(outcome.is_ok(), "after {rounds} inputs: {}", input.escape_ascii());
                assert!(begun.elapsed() < SLOW, "{:?} for {}", begun.elapsed(), input.escape_ascii());
                rounds += 1;
            }
            assert!(rounds > 20, "only {rounds} inputs were tried");
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(threads, work).unwrap();
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn plain(text: &str) {
    assert!(!text.chars().any(char::is_control), "control characters are told: {text:?}");
}

#[test]
fn control_lines() {
    let seeds: [&[u8]; 8] = [
        b"link report.pdf 7d",
        b"json link 'a b' never",
        b"ttl \"x y\" 12h",
        b"restore a/b 3",
        b"revoke lnk_abc",
        b"seal",
        b"json status",
        b"help",
    ];
    hammer(&Corpus::new(&seeds, &["json ", "link ", " 7d", "never", "'", "\"", "\\ "]), |line| {
        let (_, command) = control::parse(line);
        if let Err(e) = command {
            assert!(!e.message.is_empty());
        }
    });
}

#[test]
fn attributes() {
    let seeds: [&[u8]; 6] =
        [b"user.stage", b"user.artifact.ttl", b"user.artifact", b"user.a.b-c:d", b"user.xdg.origin.url", b"trusted.x"];
    hammer(&Corpus::new(&seeds, &["user.", "artifact.", "content_type", "id", "="]), |bytes| {
        let (key, value) = bytes.split_at(bytes.len() / 2);
        for name in [bytes, key] {
            drop((xattr::Attr::for_read(name), xattr::Attr::for_write(name)));
        }
        let mut metadata = Metadata::default();
        let key = String::from_utf8_lossy(key);
        if metadata.set(&key, value).is_ok() {
            assert_eq!(metadata.get(&key).unwrap().as_bytes(), value);
            assert!(xattr::list(&metadata, &Aside::default()).ends_with(b"\0"));
        }
    });
}

#[test]
fn names_paths_and_conditions() {
    let seeds: [&[u8]; 7] = [
        b"stage=final",
        b"a=b/c=d",
        b"charts/q3.png",
        b"run_42",
        b"art_01M8AQJRXM6QTGNBR1CERABJKQ",
        b"2026-11-26T01:30:06.648465Z",
        b"7d",
    ];
    hammer(&Corpus::new(&seeds, &["=", "/", "..", "art_", "never", "9999999999w", "T", "Z", "+23:59"]), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok((key, value)) = query::parse_condition(&text) {
            assert_eq!(format!("{key}={value}").len(), text.len(), "{text:?}");
        }
        if let Ok(parts) = split_path(bytes) {
            assert!(parts.iter().all(|p| !p.as_bytes().is_empty() && !p.as_bytes().contains(&b'/')));
        }
        if let Ok(name) = Name::new(bytes) {
            assert_eq!(name.as_bytes(), bytes);
        }
        if let Ok(session) = text.parse::<SessionName>() {
            plain(session.as_str());
        }
        if let Ok(id) = text.parse::<ArtifactId>() {
            assert_eq!(id.to_string().parse::<ArtifactId>().unwrap(), id);
        }
        drop((text.parse::<Ttl>(), text.parse::<BlobHash>()));
        if let Ok(at) = Timestamp::parse_rfc3339(&text) {
            // It is shown in microseconds.
            let shown = at.to_rfc3339();
            assert_eq!(Timestamp::parse_rfc3339(&shown).unwrap().to_rfc3339(), shown);
        }
    });
}

#[test]
fn ignore_rules() {
    let seeds: [&[u8]; 3] = [b"*.tmp\n!keep.tmp\n/build/\n", b"a/**/b\n[a-z]?\n\\#x\n", b"**/*~\n{a,b}\n"];
    hammer(&Corpus::new(&seeds, &["**", "/", "!", "[", "]", "{", "}", "\\", "?"]), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let rules = IgnoreRules::new(Some(&text));
        for path in ["a/b.tmp", "build/x", "x~"] {
            std::hint::black_box(rules.is_scratch(path, false));
        }
        std::hint::black_box(rules.is_scratch(bytes, true));
    });
}

#[test]
fn journals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let line = |text: &str| text.as_bytes().to_vec();
    let open = r#"{"op":"open","file":"1-1","ino":5,"tenant":1,"session":2,"parent":1,"name":"61","cookie":3,"mode":33188,"uid":0,"gid":0,"in_catalog":false,"labels":{}}"#;
    let committed = format!(r#"{{"op":"committed","file":"1-1","size":3,"hash":"{}"}}"#, "0".repeat(64));
    let seeds =
        [line(open), line(&format!("{open}\n{committed}\n")), line(r#"{"op":"done","file":"1-1"}"#), made(&path)];
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    hammer(&Corpus::new(&seeds, &["{", "}", "[", "\"file\":", "open", "done", "null", "1e999"]), |bytes| {
        std::fs::write(&path, bytes).unwrap();
        // What was read once is read the same again: a torn end is not there any more.
        if let Ok((journal, stories)) = Journal::open(&path) {
            drop(journal);
            let (_, again) = Journal::open(&path).unwrap();
            assert_eq!(again.len(), stories.len());
        }
    });
}

/// As it is really written.
fn made(path: &std::path::Path) -> Vec<u8> {
    use outputfs::staging::journal::Record;
    let (journal, _) = Journal::open(path).unwrap();
    journal.append(&Record::Whole { file: String::from("1-1") }).unwrap();
    journal.append(&Record::Done { file: String::from("1-1") }).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn manifests() {
    let seeds: [&[u8]; 3] = [
        br#"{"session_id":"s","sealed_at":"2026-01-01T00:00:00Z","digest":"0000000000000000000000000000000000000000000000000000000000000000","artifacts":[]}"#,
        br#"{"artifacts":[{"artifact_id":"art_01M8AQJRXM6QTGNBR1CERABJKQ","filename":"a","size_bytes":1,"metadata":{"k":"v"}}]}"#,
        b"[[[[{}]]]]",
    ];
    hammer(&Corpus::new(&seeds, &["[", "{", "\"digest\":", "\\ud800", "1e400", "null"]), |bytes| {
        drop(manifest::parse(bytes));
    });
}

#[test]
fn range_headers() {
    let seeds: [&[u8]; 5] = [b"bytes=0-9", b"bytes=-5", b"bytes=5-", b"bytes=0-1,3-4,-2", b"items=1-2"];
    hammer(&Corpus::new(&seeds, &["bytes=", "-", ",", "0", "9223372036854775808"]), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        for size in [0, 1, 10, u64::MAX] {
            if let range::Asked::Parts(parts) = range::parse(&text, size) {
                assert!(parts.iter().all(|r| r.start < r.end && r.end <= size), "{parts:?} of {size}");
            }
        }
    });
}

#[test]
fn disposition_headers() {
    const VISIBLE: RangeInclusive<u8> = b' '..=b'~';
    let seeds: [&[u8]; 4] = [b"a/report.pdf", "d/ünï \"q\".txt".as_bytes(), b"x\r\nSet-Cookie: a=b", b"../.."];
    hammer(&Corpus::new(&seeds, &["/", "\"", ";", "%", "\u{2028}", "filename*="]), |bytes| {
        for mode in [disposition::Mode::Inline, disposition::Mode::Attachment] {
            let header = disposition::content_disposition(mode, bytes);
            assert!(header.bytes().all(|b| VISIBLE.contains(&b)), "{header:?}");
            let quoted = header.split('"').count();
            assert!(quoted == 1 || quoted == 3, "the name ends its quotes: {header:?}");
        }
        drop(display_bytes(bytes));
    });
}

#[test]
fn cursors() {
    let real = input::cursor(Timestamp(1_700_000_000_000_000_000), &[7; 16]);
    hammer(&Corpus::new(&[real.as_bytes(), b"", b"AAAA"], &["=", "-", "_", "A"]), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok((at, id)) = input::parse_cursor::<16>(&text) {
            assert_eq!(input::parse_cursor::<16>(&input::cursor(at, &id)).unwrap(), (at, id));
        }
    });
}

#[test]
fn parameters_of_a_query() {
    let seeds: [&[u8]; 3] = [b"session=a&limit=5", b"metadata[stage]=x&agent=%C3%BC", b"a=1&&b"];
    hammer(&Corpus::new(&seeds, &["&", "=", "%zz", "[", "]", "+"]), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        drop((input::parameters(&text), input::limit(&text, 100), input::moment("x", &text)));
    });
}
