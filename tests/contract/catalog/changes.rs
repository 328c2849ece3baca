use std::time::{Duration, Instant};

use outputfs::artifact::Kind;
use outputfs::artifact::ids::MountId;
use outputfs::catalog::{ChangeKind, Origin, RenameMode};
use ulid::Ulid;

use super::world::{World, kind, name};

pub async fn others_hear_and_the_maker_does_not(w: &World) {
    let other = Origin(MountId(Ulid::new()));
    let start = w.cat.last_change().await.unwrap();
    let made = w.file(w.root(), "a", b"1").await;
    w.commit(w.rewrite(made.ino, b"2")).await;
    let (a, b) = (name("a"), name("b"));
    let cookies = (w.number(), w.number());
    w.cat.rename(w.origin, (w.root(), &a), (w.root(), &b), RenameMode::Replace, cookies, w.now()).await.unwrap();
    w.cat.seal(w.origin, w.session.id, w.now()).await.unwrap();
    let heard = w.another().changes(start, other, Duration::ZERO).await.unwrap();
    let kinds: Vec<_> = heard.iter().map(|c| c.kind.clone()).collect();
    let entry = |n: &_| ChangeKind::Entry { parent: w.root(), name: Clone::clone(n) };
    let inode = ChangeKind::Inode { ino: made.ino };
    let sealed = ChangeKind::Sealed { session: w.session.id };
    assert_eq!(kinds, [entry(&a), inode.clone(), entry(&a), entry(&b), inode, sealed]);
    assert!(heard.windows(2).all(|p| p[0].seq < p[1].seq));
    let last = heard.last().unwrap().seq;
    assert_eq!(last, w.cat.last_change().await.unwrap());
    assert!(w.cat.changes(last, other, Duration::ZERO).await.unwrap().is_empty());
    assert_eq!(w.cat.changes(heard[2].seq, other, Duration::ZERO).await.unwrap(), heard[3..]);
    // The maker's own are passed over, again and again from the same number.
    for _ in 0..3 {
        assert!(w.cat.changes(start, w.origin, Duration::ZERO).await.unwrap().is_empty());
    }
    let session = w.session("other").await;
    w.cat.seal(other, session.id, w.now()).await.unwrap();
    assert_eq!(w.cat.changes(start, w.origin, Duration::ZERO).await.unwrap().len(), 1);
    assert_eq!(kind(w.cat.changes(last + 1000, other, Duration::ZERO).await), Kind::NotFound);
}

pub async fn a_waiter_wakes_in_time(w: &World) {
    let start = w.cat.last_change().await.unwrap();
    let elsewhere = w.another();
    let waiter = tokio::spawn(async move {
        let other = Origin(MountId(Ulid::new()));
        let heard = elsewhere.changes(start, other, Duration::from_secs(20)).await.unwrap();
        (heard.len(), Instant::now())
    });
    // However late the waiter starts, it must not wait for its deadline.
    w.mkdir(w.root(), "d").await;
    let made = Instant::now();
    let (heard, woken) = waiter.await.unwrap();
    assert_eq!(heard, 1);
    // 50 ms by contract; a loaded machine gets some grace.
    assert!(woken.saturating_duration_since(made) < Duration::from_millis(500));
}
