//! The places for connections, a bounded number, and the slots for requests: none of them held by clients that keep us waiting.
//!
//! A client that sends no request (it never sends its head, or drips it, or keeps a finished connection open), none of its body, or
//! takes nothing of its answer, keeps its place as long as nobody else wants one. When all are taken, one of those goes: of the address that
//! has most of them the one that has kept us waiting longest. A slot is for a request that has come, and is had the same way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::turns::{Full, Rules, Turn, Turns};
use crate::metrics;

/// Places beyond the slots: there is one for whoever asks only how we are.
pub const SPARE: usize = 32;
/// Between two looks while none is free: who was sent away needs a moment to go.
const LOOK: Duration = Duration::from_millis(5);
/// Of them, for a slot.
const LOOKS: usize = 40;

/// What a client keeps us waiting for.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Why {
    /// A request.
    Request = 1,
    /// The rest of one.
    Body = 2,
    /// That it takes its answer.
    Reading = 4,
}

/// All places of one listener.
pub struct Places {
    free: Arc<Semaphore>,
    table: Arc<Mutex<Table>>,
    next: AtomicU64,
    slots: Turns<String>,
    /// For those who watch over us, when there is no other.
    watching: Turns<()>,
}

/// All connections. A leaf lock.
#[derive(Default)]
struct Table {
    all: HashMap<u64, Known>,
    of: HashMap<String, usize>,
}

struct Known {
    from: String,
    /// Of [`Why`]; 0: it does not wait for its client.
    why: u8,
    since: Instant,
    /// Who has a slot.
    works: Option<String>,
    cut: CancellationToken,
}

/// One connection's place. Free again when dropped.
pub struct Place {
    number: u64,
    table: Arc<Mutex<Table>>,
    /// Cancelled when another needs the place more.
    pub cut: CancellationToken,
    _held: OwnedSemaphorePermit,
}

/// Which connections may go.
#[derive(Clone, Copy)]
enum Among<'a> {
    All,
    Working,
    WorkingFor(&'a str),
}

impl Places {
    /// So many slots, and a few places more.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let all = u32::try_from(slots).unwrap_or(u32::MAX).max(1);
        // Of one address at most three quarters: there is always one for another.
        let rules = Rules { all, each: (all / 4 * 3).max(1), waiting: usize::MAX, patience: LOOK };
        let few = u32::try_from(SPARE / 2).unwrap_or(1);
        Self {
            free: Arc::new(Semaphore::new(slots.saturating_add(SPARE).min(Semaphore::MAX_PERMITS))),
            table: Arc::default(),
            next: AtomicU64::new(0),
            slots: Turns::new(rules),
            watching: Turns::new(Rules { all: few, each: few, ..rules }),
        }
    }

    /// A place for a connection from that address, made free if need be. `None`: never, the semaphore is not closed.
    pub async fn take(&self, from: &str) -> Option<Arc<Place>> {
        if let Ok(held) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(self.place(from, held));
        }
        loop {
            self.table.lock().cut(Among::All);
            if let Ok(held) = tokio::time::timeout(LOOK, Arc::clone(&self.free).acquire_owned()).await {
                return Some(self.place(from, held.ok()?));
            }
        }
    }

    fn place(&self, from: &str, held: OwnedSemaphorePermit) -> Arc<Place> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let cut = CancellationToken::new();
        {
            let mut table = self.table.lock();
            *table.of.entry(from.to_owned()).or_default() += 1;
            let (from, why, since) = (from.to_owned(), Why::Request as u8, Instant::now());
            table.all.insert(number, Known { from, why, since, works: None, cut: cut.clone() });
        }
        metrics::get().connections.inc();
        Arc::new(Place { number, table: Arc::clone(&self.table), cut, _held: held })
    }

    /// A slot for a request of `who`; of those who watch over us there may be a few more.
    ///
    /// # Errors
    /// When all are taken by requests that do not wait for their clients.
    pub async fn slot(&self, who: &str, watches: bool) -> Result<Turn, Full> {
        let mut full = match self.slots.try_many(who.to_owned(), 1) {
            Ok(slot) => return Ok(slot),
            Err(full) => full,
        };
        if watches && let Ok(slot) = self.watching.try_many((), 1) {
            return Ok(slot);
        }
        for _ in 0..LOOKS {
            let among = if full == Full::Own { Among::WorkingFor(who) } else { Among::Working };
            if !self.table.lock().cut(among) {
                break;
            }
            full = match self.slots.take(who.to_owned()).await {
                Ok(slot) => return Ok(slot),
                Err(_) => match self.slots.try_many(who.to_owned(), 1) {
                    Ok(slot) => return Ok(slot),
                    Err(full) => full,
                },
            };
        }
        Err(full)
    }
}

impl Table {
    /// Sends one away that keeps us waiting.
    fn cut(&mut self, among: Among<'_>) -> bool {
        let may = |known: &Known| match among {
            Among::All => true,
            Among::Working => known.works.is_some(),
            Among::WorkingFor(who) => known.works.as_deref() == Some(who),
        };
        let waiting = self.all.iter().filter(|(_, k)| k.why != 0 && !k.cut.is_cancelled() && may(k));
        let most = |known: &Known| self.of.get(&known.from).copied().unwrap_or(0);
        let Some((_, gone)) = waiting.max_by_key(|(_, k)| (most(k), std::cmp::Reverse(k.since))) else { return false };
        let why = if gone.why & Why::Request as u8 != 0 { "silent" } else { "stalled" };
        metrics::get().connections_cut.with_label_values(&[why]).inc();
        gone.cut.cancel();
        true
    }
}

impl Place {
    fn with(&self, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.table.lock().all.get_mut(&self.number) {
            change(known);
        }
    }

    /// The client keeps us waiting, and has done so for this long already.
    pub fn waits(&self, why: Why, already: Duration) {
        let now = Instant::now();
        self.with(|known| {
            if known.why == 0 {
                known.since = now.checked_sub(already).unwrap_or(now);
            }
            known.why |= why as u8;
        });
    }

    /// It does not any more.
    pub fn moves(&self, why: Why) {
        self.with(|known| known.why &= !(why as u8));
    }

    /// Who has a slot for its request.
    pub fn works(&self, who: Option<String>) {
        self.with(|known| known.works = who);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        if let Some(known) = table.all.remove(&self.number)
            && let Some(count) = table.of.get_mut(&known.from)
        {
            *count -= 1;
            if *count == 0 {
                table.of.remove(&known.from);
            }
        }
        metrics::get().connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn filled(slots: usize) -> (Places, Vec<Arc<Place>>) {
        let places = Places::new(slots);
        let mut all = Vec::new();
        for _ in 0..slots + SPARE {
            all.push(places.take("a").await.unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        (places, all)
    }

    /// The one that has to go for one from `b`, which comes to the end of all.
    async fn goes(places: &Places, all: &mut Vec<Arc<Place>>) -> u64 {
        let coming = places.take("b");
        let going = async {
            let mut gone = None;
            while gone.is_none() {
                gone = all.iter().position(|p| p.cut.is_cancelled());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            gone.map(|at| all.remove(at).number)
        };
        let (come, gone) =
            tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(coming, going) }).await.unwrap();
        all.push(come.unwrap());
        gone.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_us_waiting_longest_goes_first_and_who_works_stays() {
        let (places, mut all) = filled(2).await;
        all[0].moves(Why::Request);
        assert_eq!(goes(&places, &mut all).await, 1, "the first of those that are silent");
        // Its answer is out: now it is silent too, and not longest.
        all[0].waits(Why::Request, Duration::ZERO);
        assert_eq!(goes(&places, &mut all).await, 2);
        // A body that drips has waited for all its pauses together.
        all[0].moves(Why::Request);
        all[0].waits(Why::Body, Duration::from_secs(9));
        assert_eq!(goes(&places, &mut all).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_one_of_the_address_that_has_most() {
        let (places, mut all) = filled(2).await;
        assert_eq!(goes(&places, &mut all).await, 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        // What has waited longest of all, but of an address that has few.
        let few = all.last().unwrap().number;
        for one in &all[..all.len() - 1] {
            one.moves(Why::Request);
            one.waits(Why::Request, Duration::ZERO);
        }
        assert_ne!(goes(&places, &mut all).await, few);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_had_from_who_stalls_and_only_then_refused() {
        let places = Places::new(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            let place = places.take("a").await.unwrap();
            place.moves(Why::Request);
            let slot = places.slot("a", false).await.unwrap();
            place.works(Some(String::from("a")));
            held.push((place, slot));
        }
        assert_eq!(places.slot("a", false).await.err(), Some(Full::Own), "three quarters");
        let other = places.slot("b", false).await.unwrap();
        assert_eq!(places.slot("c", false).await.err(), Some(Full::All));
        assert!(places.slot("c", true).await.is_ok(), "how we are can be asked");
        held[1].0.waits(Why::Body, Duration::ZERO);
        let cut = held[1].0.cut.clone();
        let (come, ()) = tokio::join!(places.slot("c", false), async {
            cut.cancelled().await;
            drop(held.remove(1));
        });
        assert!(come.is_ok());
        drop(other);
    }
}
