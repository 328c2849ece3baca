//! What the catalog takes as it grows: commits a second, questions and their times, bytes an artifact, memory.
//!
//! `catalog_bench --dir DIR [--sizes 10000,100000,1000000] [--repeats 30]` fills an SQLite catalog in DIR up to each size in turn
//! and measures there; prints one JSON object. Milliseconds are medians (and the slowest in `_max`). One in a thousand artifacts has
//! `stage=final`; sessions hold 100 artifacts.

use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use outputfs::artifact::ids::{ArtifactId, BlobHash, Ino, MountId};
use outputfs::artifact::name::Name;
use outputfs::artifact::query::{By, Query};
use outputfs::artifact::record::{Chunks, Labels, Session, Tenant};
use outputfs::artifact::time::Timestamp;
use outputfs::catalog::sqlite::{SqliteCatalog, SqliteOptions};
use outputfs::catalog::{Artifacts as _, Sessions as _, Tree as _};
use outputfs::catalog::{Birth, Commit, CommitError, FileStat, Origin, Payload};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use ulid::Ulid;

type Failure = Box<dyn Error + Send + Sync>;
type Done<T> = Result<T, Failure>;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    sizes: Vec<u64>,
    #[arg(long, default_value_t = 30)]
    repeats: usize,
}

const A_SESSION: u64 = 100;
/// Writers while it is filled.
const FILLERS: u64 = 64;
/// Nanoseconds: the first artifact's moment, and from one to the next.
const START: i64 = 1_790_000_000_000_000_000;
const STEP: i64 = 1_000_000_000;

struct Bench {
    catalog: Arc<SqliteCatalog>,
    tenant: Tenant,
    origin: Origin,
    /// Inode numbers and directory cookies, reserved in one go.
    numbers: AtomicU64,
    /// Artifacts so far.
    count: AtomicU64,
}

fn at(i: u64) -> Timestamp {
    Timestamp(START + i64::try_from(i).unwrap_or(i64::MAX / STEP / 2) * STEP)
}

fn session_name(i: u64) -> String {
    format!("run_{:06}", i / A_SESSION)
}

impl Bench {
    async fn session(&self, i: u64) -> Done<Session> {
        let name = session_name(i).parse()?;
        Ok(self.catalog.ensure_session(self.origin, self.tenant.id, &name, 0, 0, at(i)).await?)
    }

    fn draft(&self, i: u64, session: &Session) -> Done<Commit> {
        let (ino, cookie) =
            (Ino(self.numbers.fetch_add(1, Ordering::Relaxed)), self.numbers.fetch_add(1, Ordering::Relaxed));
        let mut labels = Labels { agent_id: Some(format!("agent-{:02}", i % 20)), ..Labels::default() };
        let stage = if i % 1000 == 7 { "final" } else { ["draft", "review"][usize::try_from(i % 2)?] };
        labels.explicit.set("stage", stage.as_bytes())?;
        labels.explicit.set("model", format!("claude-{}", i % 8).as_bytes())?;
        labels.explicit.set("batch", format!("{}", i / 1000).as_bytes())?;
        let name = Name::new(format!("chart_{:03}.png", i % A_SESSION).as_bytes())?;
        Ok(Commit {
            tenant: self.tenant.id,
            session: session.id,
            ino,
            birth: Some(Birth { parent: session.root, name, cookie, mode: 0o644, uid: 0, gid: 0, replaces: false }),
            id: ArtifactId(Ulid::from_parts(u64::try_from(at(i).0 / 1_000_000)?, u128::from(i))),
            collapse: None,
            kept: false,
            hash: BlobHash(Sha256::digest(i.to_le_bytes()).into()),
            size: 4096 + i % 100_000,
            chunks: Chunks::default(),
            midstate: None,
            bytes: Payload::Stored,
            begun: i64::MAX.unsigned_abs(),
            bytes_type: Some(String::from(
                ["image/png", "text/csv", "application/pdf", "text/plain"][usize::try_from(i % 4)?],
            )),
            labels,
            attempt: None,
            durable: true,
            mtime: at(i),
            stat: FileStat::default(),
            now: at(i),
        })
    }

    /// Commits `more` artifacts with so many writers, each waiting for its own commit; commits a second.
    async fn commit(self: &Arc<Self>, more: u64, writers: u64) -> Done<f64> {
        let (begun, end) = (Instant::now(), self.count.load(Ordering::Relaxed) + more);
        let next = Arc::new(AtomicU64::new(end - more));
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let (bench, next) = (Arc::clone(self), Arc::clone(&next));
                tokio::spawn(async move {
                    let mut session: Option<(u64, Session)> = None;
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= end {
                            return Ok::<_, Failure>(());
                        }
                        let known = session.take().filter(|(of, _)| *of == i / A_SESSION);
                        let (of, s) = match known {
                            Some(known) => known,
                            None => (i / A_SESSION, bench.session(i).await?),
                        };
                        bench.catalog.commit(bench.origin, bench.draft(i, &s)?).await.map_err(|e| match e {
                            CommitError::Failed(e) => Failure::from(e),
                            CommitError::BlobGone => "a blob is gone".into(),
                        })?;
                        session = Some((of, s));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        self.count.store(end, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        Ok(more as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Runs `question` again and again; its median and its slowest time in milliseconds.
async fn timed<T, F: Future<Output = Done<T>>>(
    into: &mut Map<String, Value>,
    name: &str,
    repeats: usize,
    mut question: impl FnMut(u64) -> F,
) -> Done<()> {
    let mut times = Vec::with_capacity(repeats);
    for round in 0..repeats as u64 {
        let begun = Instant::now();
        question(round).await?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    into.insert(format!("{name}_ms"), json!(times[times.len() / 2]));
    into.insert(format!("{name}_ms_max"), json!(times.last()));
    Ok(())
}

fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(what)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
}

fn bytes_of(dir: &Path) -> Done<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // The reserve is a constant.
        if !entry.file_name().to_string_lossy().ends_with(".reserve") {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

async fn questions(bench: &Arc<Bench>, repeats: usize) -> Done<Map<String, Value>> {
    let (mut out, n) = (Map::new(), bench.count.load(Ordering::Relaxed));
    let (cat, tenant, now) = (&bench.catalog, bench.tenant.id, at(n));
    let middle = |round: u64| (n / 2 + round * 7919) % n;
    let (out, all) = (&mut out, || Query { limit: 50, ..Query::all(tenant) });
    let find = |query: Query| async move { Ok(cat.find(&query, now).await?) };
    let final_ones = cat.find(&Query { metadata: vec![("stage".into(), "final".into())], ..all() }, now).await?;
    assert!(!final_ones.artifacts.is_empty(), "nothing was found");
    timed(out, "list_a_session", repeats, |r| async move {
        let session = bench.session(middle(r)).await?;
        Ok(cat.list(session.root, 0, 1000, now).await?)
    })
    .await?;
    timed(out, "by_id", repeats, |r| async move {
        let i = middle(r);
        let id = ArtifactId(Ulid::from_parts(u64::try_from(at(i).0 / 1_000_000)?, u128::from(i)));
        cat.artifact(tenant, id, now).await?.ok_or_else(|| "not found by its ID".into())
    })
    .await?;
    timed(out, "newest_50", repeats, |_| find(all())).await?;
    timed(out, "page_in_the_middle", repeats, |r| {
        let i = middle(r);
        find(Query { after: Some((at(i), ArtifactId(Ulid::nil()))), ..all() })
    })
    .await?;
    timed(out, "stage_final", repeats, |_| find(Query { metadata: vec![("stage".into(), "final".into())], ..all() }))
        .await?;
    timed(out, "one_batch", repeats, |r| {
        find(Query { metadata: vec![("batch".into(), format!("{}", middle(r) / 1000))], ..all() })
    })
    .await?;
    timed(out, "final_and_model_glob_and_images_since", repeats, |_| {
        find(Query {
            metadata: vec![("stage".into(), "final".into())],
            patterns: vec![("model".into(), "claude-*".into())],
            content_type: Some("text/*".into()),
            since: Some(at(n / 2)),
            ..all()
        })
    })
    .await?;
    timed(out, "agent_in_a_session", repeats, |r| async move {
        let session = bench.session(middle(r)).await?;
        find(Query { session: Some(session.id), agent: Some("agent-03".into()), ..all() }).await
    })
    .await?;
    timed(out, "a_value_that_is_nowhere", repeats, |_| {
        find(Query { metadata: vec![("stage".into(), "nowhere".into())], ..all() })
    })
    .await?;
    timed(out, "usage", repeats.min(5), |_| async move { Ok(cat.usage(tenant, now).await?) }).await?;
    timed(out, "usage_by_day", repeats.min(5), |_| async move {
        use outputfs::catalog::quotas::Quotas;
        Ok(cat.shares(tenant, By::Day, now).await?)
    })
    .await?;
    timed(out, "gc_mark_all", 3, |_| async move {
        use outputfs::catalog::upkeep::Upkeep;
        let mut after = None;
        loop {
            after = cat.unneeded(tenant, after, 2000).await?.next;
            if after.is_none() {
                return Ok(());
            }
        }
    })
    .await?;
    Ok(std::mem::take(out))
}

async fn run(args: Args) -> Done<Value> {
    std::fs::create_dir_all(&args.dir)?;
    let catalog = SqliteCatalog::open(&args.dir.join("catalog.db"), SqliteOptions::default())?;
    let tenant = catalog.tenant(&"default".parse()?, at(0)).await?;
    let top = args.sizes.iter().max().copied().unwrap_or(0);
    let numbers = AtomicU64::new(catalog.reserve(4 * top + 1_000_000).await?);
    let bench =
        Arc::new(Bench { catalog, tenant, origin: Origin(MountId(Ulid::new())), numbers, count: AtomicU64::new(0) });
    let mut results = Map::new();
    for size in args.sizes {
        let missing = size.saturating_sub(bench.count.load(Ordering::Relaxed));
        let filled = if missing > 0 { bench.commit(missing, FILLERS).await? } else { 0.0 };
        eprintln!("{size}: filled, {filled:.0} commits/s");
        let mut at_size = questions(&bench, args.repeats).await?;
        at_size.insert("filled_commits_s".into(), json!(filled));
        for (writers, more) in [(1, 1000), (8, 4000), (64, 8000)] {
            at_size.insert(format!("commits_s_{writers}"), json!(bench.commit(more, writers).await?));
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let each = bytes_of(&args.dir)? as f64 / bench.count.load(Ordering::Relaxed) as f64;
        at_size.insert("bytes_an_artifact".into(), json!(each));
        at_size.insert("resident_kib".into(), json!(memory("VmRSS:")));
        at_size.insert("resident_peak_kib".into(), json!(memory("VmHWM:")));
        results.insert(size.to_string(), Value::Object(at_size));
    }
    Ok(json!({ "outputfs": results }))
}

fn main() -> Done<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{}", serde_json::to_string_pretty(&runtime.block_on(run(Args::parse()))?)?);
    Ok(())
}
