#![allow(clippy::unwrap_used)]

use std::{fs, ops::Range, path::Path, sync::LazyLock, time::Duration};

use proptest::prelude::*;

use super::{
    segments::{Catalog, SegmentWriter, head_path, tail_path},
    *,
};
use crate::{engine::OutputStream::*, files::tests::SmallDisk};

/// Bounds that a few hundred records reach.
const SMALL: Bounds = Bounds {
    head_stream_bytes: 600,
    head_file_bytes: 2_000,
    segment_bytes: 1_500,
    segments: 4,
};

fn all(job: &Path) -> Vec<LogEntry> {
    after(job, None)
}

fn after(job: &Path, id: Option<u64>) -> Vec<LogEntry> {
    let mut reader = LogReader::open(job, id);
    std::iter::from_fn(|| reader.next(u64::MAX).unwrap()).collect()
}

/// Aperiodic output of the tests: a few bytes determine their position.
static OUTPUT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; 100_000];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
});

/// Returns the bytes that the test writes at these positions of the output.
fn content(positions: Range<u64>) -> Vec<u8> {
    OUTPUT[positions.start as usize..positions.end as usize].to_vec()
}

fn file_bytes(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[derive(Clone, Debug)]
enum Act {
    Append(OutputStream, usize),
    /// The worker restarts.
    Reopen,
    /// The host fails; of each file that was written last, this part of a thousand is left.
    Crash(u64, u64),
    /// The disk took nothing for a while.
    Lose(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (any::<bool>(), 1..400_usize)
            .prop_map(|(is_stdout, length)| Act::Append(if is_stdout { Stdout } else { Stderr }, length)),
        1 => Just(Act::Reopen),
        1 => (0..=1_000_u64, 900..=1_000_u64).prop_map(|(head, tail)| Act::Crash(head, tail)),
        1 => (1..500_u64).prop_map(Act::Lose),
    ]
}

fn truncate(path: &Path, of_thousand: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length * of_thousand / 1_000).unwrap();
}

/// Checks that a log's entries are in order, that each byte is the one that was written at its position, and
/// that missing output is marked.
fn check(entries: &[LogEntry]) {
    let mut place = None;
    let mut last_id = 0;
    for entry in entries {
        assert!(entry.id > last_id, "{} after {last_id}", entry.id);
        let length = entry.bytes.len() as u64;
        match entry.kind {
            // After a crash the writer goes on behind the last byte that is left.
            LogKind::Dropped(bytes) => place = place.map(|place| place + bytes.unwrap_or(0)),
            LogKind::Output(_) => {
                assert!(last_id == 0 || entry.id == last_id + 1, "a gap that nobody tells");
                // After a lost beginning, the content determines the position.
                let begin = place.or_else(|| {
                    (length >= 8).then(|| {
                        let mut places = OUTPUT.windows(entry.bytes.len());
                        places.position(|bytes| bytes == entry.bytes).unwrap() as u64
                    })
                });
                if let Some(begin) = begin {
                    assert_eq!(entry.bytes, content(begin..begin + length));
                    place = Some(begin + length);
                }
            }
        }
        last_id = entry.id;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_record_is_read_once_in_its_order_whatever_happens(
        acts in prop::collection::vec(act(), 1..120),
        stops in prop::collection::vec(any::<prop::sample::Index>(), 4),
    ) {
        let job = tempfile::tempdir().unwrap();
        let folder = job.path().join(LOG_FOLDER);
        let mut writer = SegmentWriter::open(&folder, true, SMALL).unwrap();
        let mut last_written = 0;
        for act in acts {
            match act {
                Act::Append(stream, length) => {
                    let bytes = content(writer.offset()..writer.offset() + length as u64);
                    writer.append(stream, 5, &bytes).unwrap();
                    last_written = writer.next_id() - 1;
                    let entries = all(job.path());
                    prop_assert_eq!(entries.last().unwrap().id, last_written);
                }
                Act::Lose(bytes) => writer.lose(bytes),
                Act::Reopen => {
                    writer.close();
                    writer = SegmentWriter::open(&folder, true, SMALL).unwrap();
                    prop_assert!(writer.next_id() > last_written);
                }
                Act::Crash(head, tail) => {
                    drop(writer);
                    let catalog = Catalog::read(&folder).unwrap();
                    truncate(&head_path(&folder, catalog.head.unwrap()), head);
                    if let Some(first) = catalog.tails.last() {
                        truncate(&tail_path(&folder, *first), tail);
                    }
                    check(&all(job.path()));
                    writer = SegmentWriter::open(&folder, true, SMALL).unwrap();
                    last_written = 0;
                }
            }
            let most = SMALL.head_file_bytes + SMALL.segments as u64 * SMALL.segment_bytes;
            prop_assert!(file_bytes(&folder) <= most);
        }
        let entries = all(job.path());
        check(&entries);
        // A reader that stops anywhere and resumes sees the same.
        for stop in stops {
            if entries.is_empty() {
                break;
            }
            let stop = stop.index(entries.len());
            let resumed = after(job.path(), Some(entries[stop].id));
            prop_assert_eq!(&resumed[..], &entries[stop + 1..]);
        }
        for lines in [1, 3] {
            let survey = LogReader::survey(job.path(), Some(lines), None).unwrap();
            prop_assert_eq!(survey.next_id, entries.last().map_or(1, |entry| entry.id + 1));
        }
    }
}

#[test]
fn beginning_and_end_stay_and_the_middle_is_told() {
    let job = tempfile::tempdir().unwrap();
    let folder = job.path().join(LOG_FOLDER);
    let mut writer = SegmentWriter::open(&folder, false, SMALL).unwrap();
    let total = 50_000;
    for begin in (0..total).step_by(100) {
        writer.append(Stdout, 5, &content(begin..begin + 100)).unwrap();
    }
    writer.append(Stderr, 6, &content(total..total + 10)).unwrap();
    let entries = all(job.path());
    check(&entries);
    let (stdout, stderr) = beginnings(job.path()).unwrap().unwrap();
    assert_eq!(stdout, content(0..600));
    // Standard error that comes late is not in the ring that standard output floods.
    assert_eq!(stderr, content(total..total + 10));
    assert_eq!(entries.last().unwrap().kind, LogKind::Output(Stderr));
    let dropped: Vec<_> = entries
        .iter()
        .filter(|entry| matches!(entry.kind, LogKind::Dropped(_)))
        .collect();
    let kept: u64 = entries.iter().map(|entry| entry.bytes.len() as u64).sum();
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].kind, LogKind::Dropped(Some(total + 10 - kept)));
    assert!(
        kept > 600 + 10 + 3 * 1_000,
        "three full segments at least: {kept}"
    );

    keep_head_only(job.path()).unwrap();
    assert_eq!(beginnings(job.path()).unwrap().unwrap(), (stdout, stderr));
    assert!(Catalog::read(&folder).unwrap().tails.is_empty());
}

#[test]
fn log_that_begins_anew_goes_on_counting() {
    let job = tempfile::tempdir().unwrap();
    let folder = job.path().join(LOG_FOLDER);
    let mut writer = SegmentWriter::open(&folder, false, SMALL).unwrap();
    let mut follower = LogReader::open(job.path(), None);
    writer.append(Stdout, 1, b"first container").unwrap();
    assert_eq!(
        follower.next(u64::MAX).unwrap().unwrap().bytes,
        b"first container"
    );
    writer.close();
    let mut writer = SegmentWriter::open(&folder, false, SMALL).unwrap();
    writer.append(Stdout, 2, b"second container").unwrap();
    let second = follower.next(u64::MAX).unwrap().unwrap();
    assert_eq!((second.id, &second.bytes[..]), (2, &b"second container"[..]));
    assert_eq!(all(job.path()), [second]);
    // A writer that does not come to its end: its last records may be lost, and their numbers are not used
    // again.
    drop(writer);
    let mut writer = SegmentWriter::open(&folder, true, SMALL).unwrap();
    writer.append(Stdout, 3, b"later").unwrap();
    let entries = all(job.path());
    assert_eq!(entries[1].kind, LogKind::Dropped(None));
    assert!(entries[2].id > 1_000_000 && entries[2].bytes == b"later");
}

#[test]
fn crash_that_empties_the_last_segment_does_not_set_the_output_back() {
    let job = tempfile::tempdir().unwrap();
    let folder = job.path().join(LOG_FOLDER);
    let mut writer = SegmentWriter::open(&folder, false, SMALL).unwrap();
    let mut before_last = 0;
    while Catalog::read(&folder).unwrap().tails.len() < 3 {
        before_last = writer.offset();
        let bytes = content(before_last..before_last + 100);
        writer.append(Stdout, 5, &bytes).unwrap();
    }
    drop(writer);
    // Twice: the segments before the emptied one are looked at each time.
    for _ in 0..2 {
        let catalog = Catalog::read(&folder).unwrap();
        truncate(&head_path(&folder, catalog.head.unwrap()), 0);
        truncate(&tail_path(&folder, *catalog.tails.last().unwrap()), 0);
        let writer = SegmentWriter::open(&folder, true, SMALL).unwrap();
        assert_eq!(writer.offset(), before_last);
    }
    let mut writer = SegmentWriter::open(&folder, true, SMALL).unwrap();
    writer
        .append(Stdout, 6, &content(before_last..before_last + 50))
        .unwrap();
    check(&all(job.path()));
}

#[test]
fn last_lines_are_found_across_records() {
    let job = tempfile::tempdir().unwrap();
    let folder = job.path().join(LOG_FOLDER);
    let mut writer = SegmentWriter::open(&folder, false, SMALL).unwrap();
    for piece in [&b"one\ntw"[..], b"o\nthree", b"\n"] {
        writer.append(Stdout, 1, piece).unwrap();
    }
    writer.append(Stderr, 1, b"problem\n").unwrap();
    let lines = |lines, stream| {
        LogReader::survey(job.path(), Some(lines), stream)
            .unwrap()
            .last_lines
    };
    assert_eq!(lines(1, Some(Stdout)), Some((2, 2)));
    assert_eq!(lines(2, Some(Stdout)), Some((1, 4)));
    assert_eq!(lines(3, Some(Stdout)), None);
    assert_eq!(
        lines(1, None),
        Some((3, 1)),
        "the place after the last line's end"
    );
    assert_eq!(lines(0, None), Some((5, 0)));
    assert_eq!(lines(9, None), None);
}

#[test]
fn full_disk_loses_output_and_says_how_much() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = disk.path().join(LOG_FOLDER);
    let mut writer = SegmentWriter::open(&folder, false, BOUNDS).unwrap();
    writer.append(Stdout, 1, b"before").unwrap();
    let ballast = disk.fill();
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(writer.append(Stdout, 2, &[b'x'; 1_000]).is_err());
    }
    assert!(refused >= 15, "{refused}");
    fs::remove_file(ballast).unwrap();
    writer.append(Stdout, 3, b"after").unwrap();
    let entries = all(disk.path());
    let [first, .., dropped, last] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(
        (&first.bytes[..], &last.bytes[..]),
        (&b"before"[..], &b"after"[..])
    );
    assert_eq!(dropped.kind, LogKind::Dropped(Some(1_000 * refused as u64)));
}

#[test]
fn writer_on_a_full_disk_neither_waits_nor_fails() {
    let Some(disk) = SmallDisk::mount() else { return };
    let logs = LiveLogs::default();
    let tips = logs.subscribe(disk.path());
    disk.fill();
    let writer = LogWriter::open(disk.path(), false, &logs);
    for _ in 0..100 {
        writer.take(Stdout, &[b'x'; 64 * 1024]);
    }
    drop(writer);
    assert!(!tips.borrow().is_live);
}

#[tokio::test]
async fn follower_reads_all_that_is_written_meanwhile() {
    let job = tempfile::tempdir().unwrap();
    let logs = LiveLogs::default();
    let mut tips = logs.subscribe(job.path());
    assert_eq!(*tips.borrow(), LogTip::default());
    let writer = LogWriter::open(job.path(), false, &logs);
    let writing = tokio::task::spawn_blocking(move || {
        for number in 0..3_000_u32 {
            let stream = if number % 7 == 0 { Stderr } else { Stdout };
            writer.take(stream, format!("line {number}\n").as_bytes());
            if number % 500 == 0 {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
    });
    let mut reader = LogReader::open(job.path(), None);
    let mut seen = Vec::new();
    let mut last = 0;
    loop {
        let tip = *tips.borrow_and_update();
        while let Some(entry) = reader.next(tip.next_id).unwrap() {
            assert_eq!(entry.id, last + 1);
            assert!(matches!(entry.kind, LogKind::Output(_)));
            last = entry.id;
            seen.extend(entry.bytes);
        }
        if tip.next_id > 0 && !tip.is_live {
            break;
        }
        tips.changed().await.unwrap();
    }
    writing.await.unwrap();
    let expected: String = (0..3_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(String::from_utf8(seen).unwrap(), expected);
    assert_eq!(tips.borrow().offset, expected.len() as u64);
}

#[test]
fn second_writer_takes_over() {
    let job = tempfile::tempdir().unwrap();
    let logs = LiveLogs::default();
    let first = LogWriter::open(job.path(), false, &logs);
    first.take(Stdout, b"one ");
    std::thread::sleep(Duration::from_millis(100));
    let second = LogWriter::open(job.path(), true, &logs);
    second.take(Stdout, b"two ");
    first.take(Stdout, b"lost");
    drop(first);
    assert!(logs.subscribe(job.path()).borrow().is_live, "the second goes on");
    second.take(Stdout, b"three");
    second.miss();
    second.take(Stdout, b" and later");
    drop(second);
    assert_eq!(
        beginnings(job.path()).unwrap().unwrap().0,
        b"one two three and later"
    );
    let gaps = all(job.path())
        .iter()
        .filter(|entry| entry.kind == LogKind::Dropped(None))
        .count();
    assert_eq!(gaps, 2, "at the second writer, and where it missed something");
    assert!(!logs.subscribe(job.path()).borrow().is_live);
}
