//! The daemon's side: few workers at a time, and no more of the daemon for them than was set aside.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::cache::{Cache, Key};
use super::wire::{ANSWER, FAILED, HELLO, READ, READ_MAX};
use super::{Made, Task, worker};
use crate::artifact::ids::BlobHash;
use crate::artifact::{Error, Kind, Result};
use crate::metrics;

/// Workers at a time.
const WORKERS: usize = 2;
/// Files that wait for one; more have no preview this time.
const WAITING: usize = 256;

/// What one worker may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// From its start to its answer, the store's time included.
    pub time: Duration,
    /// For a worker to become free.
    pub wait: Duration,
    /// Bytes of its file.
    pub read: u64,
    /// Bytes of its answer.
    pub answer: u32,
}

impl Default for Budget {
    fn default() -> Self {
        // The largest document that is searched is read whole; the answer holds a notebook's pictures.
        Self { time: Duration::from_secs(10), wait: Duration::from_secs(10), read: 80 << 20, answer: 4 << 20 }
    }
}

/// Where a file's bytes come from.
pub trait Source: Sync {
    /// Up to `len` bytes from `offset`; fewer only at the end.
    fn read_at(&self, offset: u64, len: usize) -> impl Future<Output = Result<bytes::Bytes>> + Send;
}

/// All workers of this process.
pub struct Previews {
    /// Ourselves.
    program: PathBuf,
    budget: Budget,
    free: Semaphore,
    waiting: AtomicUsize,
    cache: Cache,
    told: Once,
}

/// How a worker ended.
enum Ended {
    Answered(Made),
    /// By itself, or by its limits: again it would end like that.
    Broken,
    /// The store failed it, or the clock.
    Unlucky(Error),
}

impl Previews {
    /// `program`: what to start as a worker.
    #[must_use]
    pub fn new(program: PathBuf, budget: Budget) -> Self {
        Self {
            program,
            budget,
            free: Semaphore::new(WORKERS),
            waiting: AtomicUsize::new(0),
            cache: Cache::default(),
            told: Once::new(),
        }
    }

    /// What can be seen of the file with that `hash`, which `file` opens; [`Made::Nothing`] also when its bytes broke the worker. Dropped before its end, the worker is
    /// killed.
    ///
    /// # Errors
    /// `Busy` when too many wait, `TimedOut`; those of the store. They are not remembered.
    pub async fn make(
        &self,
        task: &Task,
        hash: BlobHash,
        file: impl Future<Output = Result<impl Source>> + Send,
    ) -> Result<Made> {
        let key = Key::new(hash, task);
        if let Some(made) = self.cache.get(&key) {
            return Ok(made);
        }
        let _turn = self.turn().await?;
        // Whoever had the turn before may have made just this.
        if let Some(made) = self.cache.get(&key) {
            return Ok(made);
        }
        let ended = match tokio::time::timeout(self.budget.time, self.work(task, &file.await?)).await {
            Ok(ended) => ended,
            Err(_) => Ended::Unlucky(Error::new(Kind::TimedOut, "a preview took too long")),
        };
        let (how, made) = match ended {
            Ended::Answered(made) => ("made", made),
            Ended::Broken => ("broken", Made::Nothing),
            Ended::Unlucky(e) => {
                metrics::get().previews.with_label_values(&["failed"]).inc();
                return Err(e);
            }
        };
        metrics::get().previews.with_label_values(&[how]).inc();
        self.cache.put(key, made.clone());
        Ok(made)
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        let busy = || Error::new(Kind::Busy, "too many previews are being made");
        let _waiting = Waiting::enter(&self.waiting).ok_or_else(busy)?;
        match tokio::time::timeout(self.budget.wait, self.free.acquire()).await {
            Ok(turn) => turn.map_err(|e| Error::internal(format!("previews have ended: {e}"))),
            Err(_) => Err(busy()),
        }
    }

    async fn work(&self, task: &Task, file: &impl Source) -> Ended {
        let started = Command::new(&self.program)
            .arg(worker::WORD)
            // Secrets of the environment are nothing to it.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(e) => return Ended::Unlucky(Error::internal(format!("no process for a preview: {e}"))),
        };
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Ended::Unlucky(Error::internal("a process without pipes"));
        };
        let talk = Talk { to, from, budget: self.budget, told: &self.told, greeted: false };
        let ended = talk.run(task, file).await;
        end(&mut child).await;
        match ended {
            Ok(made) => Ended::Answered(made),
            Err(Fault::Worker(e)) => {
                tracing::debug!(means = ?task.means, "a file broke its preview: {e}");
                Ended::Broken
            }
            Err(Fault::Store(e)) => Ended::Unlucky(e),
        }
    }
}

/// It has answered, or broken the rules: nothing more is wanted of it.
async fn end(child: &mut Child) {
    if let Err(e) = child.kill().await {
        tracing::debug!("a worker was gone before it was ended: {e}");
    }
}

/// One of those who wait, as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let entered = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < WAITING).then_some(n + 1));
        entered.is_ok().then_some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

enum Fault {
    Worker(std::io::Error),
    Store(Error),
}

impl From<std::io::Error> for Fault {
    fn from(e: std::io::Error) -> Self {
        Self::Worker(e)
    }
}

/// One conversation.
struct Talk<'a> {
    to: ChildStdin,
    from: ChildStdout,
    budget: Budget,
    told: &'a Once,
    /// It has confined itself.
    greeted: bool,
}

impl Talk<'_> {
    async fn run(mut self, task: &Task, file: &impl Source) -> std::result::Result<Made, Fault> {
        let json = serde_json::to_vec(task).map_err(std::io::Error::from)?;
        // A worker that is gone by now is met with at the first word that it does not say.
        let length = u32::try_from(json.len()).map_err(std::io::Error::other)?;
        let told = [length.to_le_bytes().as_slice(), &json].concat();
        if let Err(e) = self.to.write_all(&told).await {
            return Err(Fault::Store(Error::internal(format!("a worker for previews does not start: {e}"))));
        }
        let mut left = self.budget.read;
        loop {
            let letter = match self.from.read_u8().await {
                Ok(letter) => letter,
                // It has not seen the file yet, which is not to blame.
                Err(e) if !self.greeted => {
                    return Err(Fault::Store(Error::internal(format!("a worker for previews does not start: {e}"))));
                }
                Err(e) => return Err(e.into()),
            };
            match letter {
                HELLO => self.hello().await?,
                _ if !self.greeted => return Err(Fault::Store(Error::internal("a worker does not begin as one"))),
                READ => {
                    let offset = self.from.read_u64_le().await?;
                    let wanted = usize::try_from(self.from.read_u32_le().await?).unwrap_or(usize::MAX);
                    if wanted > READ_MAX || wanted as u64 > left {
                        return Err(std::io::Error::other("it wants more than it may read").into());
                    }
                    left -= wanted as u64;
                    self.give(file, offset, wanted).await?;
                }
                ANSWER => return Ok(serde_json::from_slice(&self.json().await?).map_err(std::io::Error::from)?),
                _ => return Err(std::io::Error::other("it says what is no word").into()),
            }
        }
    }

    async fn json(&mut self) -> std::io::Result<Vec<u8>> {
        let length = self.from.read_u32_le().await?;
        if length > self.budget.answer {
            return Err(std::io::Error::other("its answer is too large"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.from.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn hello(&mut self) -> std::result::Result<(), Fault> {
        self.greeted = true;
        let missing: Vec<String> = serde_json::from_slice(&self.json().await?).map_err(std::io::Error::from)?;
        if !missing.is_empty() {
            self.told.call_once(|| {
                tracing::warn!(
                    "previews are made with less protection than they should have; this machine gives no {}",
                    missing.join("; no ")
                );
            });
        }
        Ok(())
    }

    async fn give(&mut self, file: &impl Source, offset: u64, wanted: usize) -> std::result::Result<(), Fault> {
        match file.read_at(offset, wanted).await {
            Ok(bytes) => {
                self.to.write_u32_le(u32::try_from(bytes.len()).map_err(std::io::Error::other)?).await?;
                self.to.write_all(&bytes).await?;
                Ok(())
            }
            Err(e) => {
                // It ends by this; what is told is why.
                let _gone = self.to.write_u32_le(FAILED).await;
                Err(Fault::Store(e))
            }
        }
    }
}
