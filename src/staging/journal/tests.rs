use proptest::prelude::*;

use super::*;

fn open_record(file: &str) -> Record {
    Record::Open {
        file: file.to_owned(),
        ino: Ino(7),
        tenant: 1,
        session: 2,
        parent: Ino(3),
        name: b"caf\xe9\n".to_vec(),
        cookie: 9,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        in_catalog: false,
        labels: Box::default(),
    }
}

fn committed(file: &str, size: u64) -> Record {
    Record::Committed { file: file.to_owned(), size, hash: BlobHash([5; 32]) }
}

fn journal() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    (dir, path)
}

#[test]
fn stories_are_told_again_after_reopening() {
    let (_dir, path) = journal();
    let (j, told) = Journal::open(&path).unwrap();
    assert!(told.is_empty());
    let labels = Labels { ttl: Some(String::from("7d")), ..Labels::default() };
    j.append(&open_record("a")).unwrap();
    j.append(&Record::Place { file: "a".into(), parent: Ino(4), name: b"new".to_vec(), cookie: 10 }).unwrap();
    j.append(&committed("a", 5)).unwrap();
    let retry = Record::Retry { file: "a".into(), size: 6, hash: BlobHash([6; 32]), labels: Box::new(labels.clone()) };
    j.append_durable(&retry).unwrap();
    j.append(&open_record("b")).unwrap();
    j.append(&Record::Done { file: "b".into() }).unwrap();
    j.append(&committed("never-opened", 1)).unwrap();

    let (_, told) = Journal::open(&path).unwrap();
    assert_eq!(told, j.stories());
    assert_eq!(told.len(), 1);
    let Record::Open { parent, name, cookie, in_catalog, labels: l, .. } = &told[0].open else { panic!() };
    assert_eq!((parent, name.as_slice(), cookie, in_catalog, &**l), (&Ino(4), &b"new"[..], &10, &true, &labels));
    assert_eq!(told[0].committed, Some((5, BlobHash([5; 32]))));
    assert_eq!(told[0].retry, Some((6, BlobHash([6; 32]))));

    j.append(&committed("a", 6)).unwrap();
    assert_eq!(j.stories()[0].retry, None);
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_it_tore() {
    let (_dir, path) = journal();
    let (j, _) = Journal::open(&path).unwrap();
    j.append(&open_record("a")).unwrap();
    let one = std::fs::metadata(&path).unwrap().len();
    j.append(&committed("a", 5)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for cut in usize::try_from(one).unwrap()..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (j, told) = Journal::open(&path).unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].committed, None, "cut at {cut}");
        j.append(&committed("a", 6)).unwrap();
        let (_, told) = Journal::open(&path).unwrap();
        assert_eq!(told[0].committed.unwrap().0, 6, "cut at {cut}");
    }
}

#[test]
fn a_broken_line_in_the_middle_hides_only_itself() {
    let (_dir, path) = journal();
    let (j, _) = Journal::open(&path).unwrap();
    j.append(&open_record("a")).unwrap();
    let one = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
    j.append(&open_record("b")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for i in 0..one - 1 {
        bytes[i] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let (_, told) = Journal::open(&path).unwrap();
        // Flipping a bit may make a line break of a byte, never a record.
        assert_eq!(told.iter().map(|s| s.open.file()).collect::<Vec<_>>(), ["b"], "byte {i}");
        bytes[i] ^= 1;
    }
}

#[test]
fn it_is_compacted_and_keeps_the_living() {
    let (_dir, path) = journal();
    let (j, _) = Journal::open(&path).unwrap();
    j.append(&open_record("living")).unwrap();
    j.append(&committed("living", 1)).unwrap();
    let mut biggest = 0;
    for i in 0..12_000 {
        let file = format!("f{i}");
        j.append(&open_record(&file)).unwrap();
        j.append(&Record::Done { file }).unwrap();
        biggest = biggest.max(std::fs::metadata(&path).unwrap().len());
    }
    assert!(biggest < COMPACT_FROM + 4096, "{biggest}");
    j.append_durable(&open_record("last")).unwrap();
    let (_, told) = Journal::open(&path).unwrap();
    assert_eq!(told, j.stories());
    assert_eq!(told.iter().map(|s| s.open.file()).collect::<Vec<_>>(), ["last", "living"]);
    assert_eq!(told[1].committed.unwrap().0, 1);
}

#[test]
fn many_living_stories_are_not_rewritten_at_every_append() {
    let (_dir, path) = journal();
    let (j, _) = Journal::open(&path).unwrap();
    let mut files = std::collections::BTreeSet::new();
    for i in 0..8_000 {
        j.append(&open_record(&format!("f{i}"))).unwrap();
        files.insert(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap()));
    }
    assert!(files.len() <= 4, "rewritten {} times", files.len() - 1);
    assert_eq!(Journal::open(&path).unwrap().1.len(), 8_000);
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let file = prop_oneof![Just("a"), Just("b")].prop_map(String::from);
    let record = (file, 0..5u8, any::<Vec<u8>>(), 0..9u64).prop_map(|(file, op, name, n)| match op {
        0 => open_record(&file),
        1 => Record::Place { file, parent: Ino(n), name, cookie: n },
        2 => committed(&file, n),
        3 => Record::Retry { file, size: n, hash: BlobHash([1; 32]), labels: Box::default() },
        _ => Record::Done { file },
    });
    proptest::collection::vec(record, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn reopening_and_compacting_change_no_story(records in records()) {
        let (_dir, path) = journal();
        let (j, _) = Journal::open(&path).unwrap();
        for record in &records {
            j.append(record).unwrap();
        }
        let (again, told) = Journal::open(&path).unwrap();
        prop_assert_eq!(&told, &j.stories());
        again.compact(&mut again.inner.lock()).unwrap();
        prop_assert_eq!(&Journal::open(&path).unwrap().1, &told);
    }
}
