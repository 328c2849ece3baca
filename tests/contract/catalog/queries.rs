use outputfs::artifact::query::Query;
use outputfs::artifact::record::Life;
use outputfs::catalog::Commit;

use super::world::{DAY, World, name};

async fn found(w: &World, q: &Query) -> Vec<String> {
    let page = w.cat.find(q, w.now()).await.unwrap();
    page.artifacts.iter().map(|a| String::from_utf8(a.filename.clone()).unwrap()).collect()
}

pub async fn find_narrows_and_pages(w: &World) {
    let mut times = Vec::new();
    for n in 0..10 {
        let mut x = w.birth(w.root(), &format!("f{n}"), format!("{n}").as_bytes());
        x.labels.explicit.set("parity", if n % 2 == 0 { b"even" } else { b"odd" }).unwrap();
        x.labels.explicit.set("three", if n % 3 == 0 { b"yes" } else { b"no" }).unwrap();
        x.labels.agent_id = Some(if n < 5 { "low".into() } else { "high".into() });
        x.bytes_type = Some(if n == 7 { "image/png".into() } else { "text/plain".into() });
        times.push(x.now);
        w.commit(x).await;
    }
    let other = w.session("other").await;
    w.commit(Commit { session: other.id, ..w.birth(other.root, "elsewhere", b"x") }).await;
    let all = Query::all(w.tenant.id);
    assert_eq!(found(w, &all).await.len(), 11);
    assert_eq!(found(w, &all).await[..2], ["elsewhere", "f9"]);
    let one = Query { session: Some(w.session.id), ..all.clone() };
    assert_eq!(found(w, &one).await.len(), 10);
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let even = Query { metadata: vec![pair("parity", "even")], ..all.clone() };
    assert_eq!(found(w, &even).await, ["f8", "f6", "f4", "f2", "f0"]);
    let both = Query { metadata: vec![pair("parity", "even"), pair("three", "yes")], ..all.clone() };
    assert_eq!(found(w, &both).await, ["f6", "f0"]);
    let agent = Query { agent: Some("high".into()), metadata: vec![pair("three", "yes")], ..one.clone() };
    assert_eq!(found(w, &agent).await, ["f9", "f6"]);
    for (text, n) in [("image/png", 1), ("image/*", 1), ("text/*", 10), ("text/plain", 10), ("text", 0), ("*", 0)] {
        let q = Query { content_type: Some(text.into()), ..all.clone() };
        assert_eq!(found(w, &q).await.len(), n, "{text}");
    }
    let span = Query { since: Some(times[3]), until: Some(times[6]), ..all.clone() };
    assert_eq!(found(w, &span).await, ["f5", "f4", "f3"]);
    // Pages, together, are the whole, also while new ones come in.
    let mut q = Query { limit: 4, ..one };
    let mut seen = Vec::new();
    loop {
        let page = w.cat.find(&q, w.now()).await.unwrap();
        seen.extend(page.artifacts.into_iter().map(|a| a.filename));
        w.file(w.root(), &format!("late{}", seen.len()), b"late").await;
        match page.next {
            Some(next) => q.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (0..10).rev().map(|n| format!("f{n}").into_bytes()).collect::<Vec<_>>());
    // A changed label is found by its new value only.
    let f0 = w.lookup(w.root(), "f0").await.unwrap();
    let change = outputfs::catalog::LabelChange {
        metadata: vec![("parity".into(), Some("zero".into()))],
        ..outputfs::catalog::LabelChange::default()
    };
    w.cat.set_labels(w.origin, f0.ino, change, w.now()).await.unwrap();
    let zero = Query { metadata: vec![pair("parity", "zero")], ..all.clone() };
    assert_eq!(found(w, &zero).await, ["f0"]);
    assert_eq!(found(w, &even).await, ["f8", "f6", "f4", "f2"]);
    let stranger = w.cat.tenant(&"stranger".parse().unwrap(), w.now()).await.unwrap();
    assert!(found(w, &Query::all(stranger.id)).await.is_empty());
    w.advance(31 * DAY);
    assert!(found(w, &all).await.is_empty());
}

pub async fn find_by_path(w: &World) {
    let dir = w.mkdir(w.root(), "d").await;
    w.file(dir, "a", b"1").await;
    w.file(w.root(), "a", b"2").await;
    let other = w.session("other").await;
    w.commit(Commit { session: other.id, ..w.birth(other.root, "a", b"3") }).await;
    let by = |path: &str| Query { filename: Some(path.as_bytes().to_vec()), ..Query::all(w.tenant.id) };
    assert_eq!(found(w, &by("a")).await, ["a", "a"]);
    assert_eq!(found(w, &by("d/a")).await, ["d/a"]);
    assert!(found(w, &by("d")).await.is_empty());
    assert!(found(w, &by("x/a")).await.is_empty());
    assert_eq!(found(w, &Query { session: Some(other.id), ..by("a") }).await, ["a"]);
    // In the trash, also when the directory is gone.
    w.cat.unlink(w.origin, dir, &name("a"), w.now()).await.unwrap();
    w.cat.rmdir(w.origin, w.root(), &name("d"), w.now()).await.unwrap();
    assert!(found(w, &by("d/a")).await.is_empty());
    assert_eq!(found(w, &Query { life: Life::Trashed, ..by("d/a") }).await, ["d/a"]);
}

pub async fn sessions_and_usage(w: &World) {
    let first = w.file(w.root(), "a", b"123").await;
    w.file(w.root(), "b", b"123").await;
    let last = w.commit(w.rewrite(first.ino, b"12345")).await;
    w.session("empty").await;
    let all = w.cat.sessions(w.tenant.id, w.now()).await.unwrap();
    assert_eq!(all.iter().map(|s| s.session.name.as_str()).collect::<Vec<_>>(), ["run", "empty"]);
    assert_eq!((all[0].artifacts, all[0].bytes), (2, 8));
    assert_eq!(all[0].last_artifact, Some(last.artifact.created));
    assert_eq!((all[1].artifacts, all[1].bytes, all[1].first_artifact), (0, 0, None));
    let usage = w.cat.usage(w.tenant.id, w.now()).await.unwrap();
    assert_eq!((usage.sessions, usage.artifacts, usage.logical_bytes, usage.stored_bytes), (2, 2, 8, 8));
    assert_eq!((usage.max_bytes, usage.max_artifacts), (None, None));
    w.advance(31 * DAY);
    let later = w.cat.usage(w.tenant.id, w.now()).await.unwrap();
    assert_eq!((later.artifacts, later.logical_bytes, later.stored_bytes), (0, 0, 8));
    assert_eq!(w.cat.sessions(w.tenant.id, w.now()).await.unwrap()[0].artifacts, 0);
}

pub async fn versions_of_a_path(w: &World) {
    let made = w.file(w.root(), "a", b"1").await;
    let second = w.commit(w.rewrite(made.ino, b"2")).await;
    assert_eq!(w.versions(w.root(), "a").await, [(1, made.artifact.id), (2, second.artifact.id)]);
    assert_eq!(w.versions(w.root(), "b").await, []);
    // The deleted one is in the trash, what came before it stays.
    w.cat.unlink(w.origin, w.root(), &name("a"), w.now()).await.unwrap();
    assert_eq!(w.versions(w.root(), "a").await, [(1, made.artifact.id)]);
    let third = w.file(w.root(), "a", b"3").await;
    assert_eq!(w.versions(w.root(), "a").await, [(1, made.artifact.id), (3, third.artifact.id)]);
}
