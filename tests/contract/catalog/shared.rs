use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use outputfs::artifact::Kind;
use outputfs::catalog::{CommitError, RenameMode};

use super::world::{World, name};

pub async fn two_handles_see_each_other(w: &World) {
    let (a, b) = (&w.cat, w.another());
    for n in 0..100 {
        let (writer, reader) = if n % 2 == 0 { (a, &b) } else { (&b, a) };
        let x = w.birth(w.root(), &format!("f{n}"), format!("{n}").as_bytes());
        let made = writer.commit(w.origin, x).await.unwrap();
        let seen = reader.node(made.ino, w.now()).await.unwrap().unwrap();
        assert_eq!(seen.content.unwrap().0, made.artifact.id);
        let (from, to) = (name(&format!("f{n}")), name(&format!("g{n}")));
        let cookies = (w.number(), w.number());
        let root = w.root();
        reader.rename(w.origin, (root, &from), (root, &to), RenameMode::Replace, cookies, w.now()).await.unwrap();
        assert!(writer.lookup(root, &from, w.now()).await.unwrap().is_none());
        assert_eq!(
            writer.artifact(w.tenant.id, made.artifact.id, w.now()).await.unwrap().unwrap().filename,
            to.as_bytes()
        );
    }
}

pub async fn eight_committers_at_once(w: &World) {
    let handles = [Arc::clone(&w.cat), w.another()];
    let mut tasks = Vec::new();
    for task in 0..8 {
        let cat = Arc::clone(&handles[task % 2]);
        let work: Vec<_> =
            (0..50).map(|n| w.birth(w.root(), &format!("{task}-{n}"), format!("{}", n % 10).as_bytes())).collect();
        let origin = w.origin;
        tasks.push(tokio::spawn(async move {
            let mut made = Vec::new();
            for x in work {
                made.push(cat.commit(origin, x).await.unwrap().artifact.id);
            }
            made
        }));
    }
    let mut ids = HashSet::new();
    for task in tasks {
        ids.extend(task.await.unwrap());
    }
    assert_eq!(ids.len(), 400);
    let usage = w.cat.usage(w.tenant.id, w.now()).await.unwrap();
    assert_eq!((usage.artifacts, usage.stored_bytes), (400, 10));
    assert_eq!(w.names(w.root()).await.len(), 400);
    // Many writers of one path: as many versions, each number once.
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (cat, origin) = (Arc::clone(&handles[n % 2]), w.origin);
            let x = w.birth(w.root(), "same", format!("same {n}").as_bytes());
            tokio::spawn(async move { cat.commit(origin, x).await.unwrap().artifact.version })
        })
        .collect();
    let mut versions = Vec::new();
    for task in tasks {
        versions.push(task.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
}

pub async fn sealing_races_with_commits(w: &World) {
    let handles = [Arc::clone(&w.cat), w.another()];
    let mut tasks = Vec::new();
    for task in 0..4 {
        let cat = Arc::clone(&handles[task % 2]);
        let work: Vec<_> = (0..200).map(|n| w.birth(w.root(), &format!("{task}-{n}"), b"x")).collect();
        let origin = w.origin;
        tasks.push(tokio::spawn(async move {
            let mut made = Vec::new();
            for x in work {
                match cat.commit(origin, x).await {
                    Ok(done) => made.push(done.artifact.id),
                    Err(CommitError::Failed(e)) if e.kind == Kind::Sealed => break,
                    Err(e) => panic!("{e:?}"),
                }
            }
            made
        }));
    }
    while w.names(w.root()).await.len() < 20 {
        tokio::task::yield_now().await;
    }
    let manifest = handles[1].seal(w.origin, w.session.id, w.now()).await.unwrap();
    let mut made = HashSet::new();
    for task in tasks {
        made.extend(task.await.unwrap());
    }
    // Exactly what was acknowledged is in it.
    assert_eq!(manifest.artifacts.iter().map(|a| a.id).collect::<HashSet<_>>(), made);
}

pub async fn two_processes_make_one_tenant(w: &World) {
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let (cat, now, origin) = (w.another(), w.now(), w.origin);
        tasks.push(tokio::spawn(async move {
            let tenant = cat.tenant(&"shared".parse().unwrap(), now).await.unwrap();
            let session = cat.ensure_session(origin, tenant.id, &"one".parse().unwrap(), 0, 0, now).await.unwrap();
            (tenant, session)
        }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    assert!(seen.windows(2).all(|p| p[0] == p[1]));
}

/// What the FUSE thread relies on: it polls once, outside any runtime.
pub async fn reads_of_one_row_answer_at_the_first_poll(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    let (cat, root, tenant, now) = (Arc::clone(&w.cat), w.root(), w.tenant.id, w.now());
    let (ino, id, hash) = (made.ino, made.artifact.id, made.artifact.hash);
    let thread = std::thread::spawn(move || {
        let a = name("a");
        assert!(cat.lookup(root, &a, now).now_or_never().unwrap().unwrap().is_some());
        assert!(cat.node(ino, now).now_or_never().unwrap().unwrap().is_some());
        assert!(cat.place(ino).now_or_never().unwrap().unwrap().is_some());
        assert_eq!(cat.path(ino).now_or_never().unwrap().unwrap(), b"a");
        assert!(cat.artifact(tenant, id, now).now_or_never().unwrap().unwrap().is_some());
        assert!(cat.blob(tenant, hash).now_or_never().unwrap().unwrap().is_some());
        assert!(cat.labels(ino).now_or_never().unwrap().is_ok());
        assert!(cat.defaults(root).now_or_never().unwrap().is_ok());
        assert_eq!(cat.list(root, 0, 128, now).now_or_never().unwrap().unwrap().len(), 1);
        assert!(cat.session(tenant, &"run".parse().unwrap()).now_or_never().unwrap().unwrap().is_some());
        assert!(cat.tenant(&"default".parse().unwrap(), now).now_or_never().unwrap().is_ok());
        assert!(cat.last_change().now_or_never().unwrap().is_ok());
    });
    thread.join().unwrap();
}
