#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;

fn list(folder: &OutputFolder) -> Arc<Listing> {
    Arc::new(folder.listing(None, &AtomicBool::new(false)).unwrap())
}

fn range(folder: &OutputFolder, listing: &Arc<Listing>, start: u64, end: u64) -> Vec<u8> {
    let mut reader = folder.archive_range(listing.clone(), start, end);
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next_piece().unwrap() {
        assert!(!piece.is_empty());
        bytes.extend(piece);
    }
    bytes
}

fn write(folder: &Path, name: &str, bytes: &[u8], mode: u32) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn root_hash_is_pinned_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "b/c", b"hello", 0o4_750);
    write(folder.path(), "b-", b"", 0o600);
    symlink("../b", folder.path().join("a")).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let listing = list(&OutputFolder::new(folder.path(), ""));

    let mut bytes = b"assay/output/v1".to_vec();
    bytes.extend([3, 0, 0, 0, 0, 0, 0, 0]);
    // The link `a`.
    bytes.extend(*b"\x01\x01\0\0\0a\0\0\0\0\x04\0\0\0\0\0\0\0");
    bytes.extend(blake3::hash(b"../b").as_bytes());
    // `b-` sorts before `b/c`, since `-` comes before `/`. 0o600 is 0x180.
    bytes.extend(*b"\0\x02\0\0\0b-\x80\x01\0\0\0\0\0\0\0\0\0\0");
    bytes.extend(blake3::hash(b"").as_bytes());
    // 0o750 is 0x1e8: without the bit that changes the user.
    bytes.extend(*b"\0\x03\0\0\0b/c\xe8\x01\0\0\x05\0\0\0\0\0\0\0");
    bytes.extend(blake3::hash(b"hello").as_bytes());
    assert_eq!(listing.root_hash(), *blake3::hash(&bytes).as_bytes());
}

#[test]
fn folder_that_is_missing_or_empty_has_an_empty_archive() {
    let base = tempfile::tempdir().unwrap();
    for below in ["", "missing", "missing/further"] {
        let folder = OutputFolder::new(base.path(), below);
        let listing = list(&folder);
        assert_eq!(listing.entries(), []);
        assert_eq!(listing.archive_len(), 1_024);
        assert_eq!(range(&folder, &listing, 0, u64::MAX), [0; 1_024]);
    }
    let missing = OutputFolder::new(base.path().join("missing"), "");
    assert_eq!(list(&missing).entries(), []);
}

/// Creates a folder with names and sizes that need all forms of headers.
fn odd_folder() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path();
    write(folder, "empty", b"", 0o644);
    write(folder, "block", &[7; 512], 0o755);
    write(folder, "longer/than/a/block", &[8; 513], 0o640);
    write(folder, "piece", &vec![9; 200_000], 0o644);
    write(
        folder,
        &format!("{}/{}", "d".repeat(90), "f".repeat(90)),
        b"long",
        0o644,
    );
    write(folder, &"ü".repeat(51), b"two bytes a letter", 0o600);
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\nname");
    fs::write(folder.join(odd), b"no text").unwrap();
    symlink("longer/than", folder.join("link")).unwrap();
    symlink("t".repeat(150), folder.join("long link")).unwrap();
    base
}

#[test]
fn tar_unpacks_the_archive_to_the_same_folder() {
    let base = odd_folder();
    let folder = OutputFolder::new(base.path(), "");
    let listing = list(&folder);
    let archive = range(&folder, &listing, 0, u64::MAX);
    assert_eq!(archive.len() as u64, listing.archive_len());

    let target = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--file=-", "--directory"])
        .arg(target.path())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    io::Write::write_all(&mut tar.stdin.take().unwrap(), &archive).unwrap();
    assert!(tar.wait().unwrap().success());
    let unpacked = list(&OutputFolder::new(target.path(), ""));
    let fields = |listing: &Listing| {
        listing
            .entries()
            .iter()
            .map(|entry| (entry.path.clone(), entry.kind.clone(), entry.mode, entry.hash))
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&unpacked), fields(&listing));
    assert_eq!(unpacked.root_hash(), listing.root_hash());
}

#[test]
fn any_range_is_a_part_of_the_whole() {
    let base = odd_folder();
    let folder = OutputFolder::new(base.path(), "");
    let listing = list(&folder);
    let archive = range(&folder, &listing, 0, u64::MAX);
    let length = listing.archive_len();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let places = (0..length, 0..length, 1..3_000_u64);
    runner
        .run(&places, |(one, other, short)| {
            let (start, end) = (one.min(other), one.max(other));
            for end in [end, start + short] {
                let stop = end.min(length);
                prop_assert!(
                    range(&folder, &listing, start, end) == archive[start as usize..stop as usize],
                    "{start}..{end}"
                );
            }
            Ok(())
        })
        .unwrap();
    // Every boundary of an entry, one byte before and after it.
    for start in listing
        .starts
        .iter()
        .flat_map(|start| [start.saturating_sub(1), *start, start + 1])
    {
        let end = (start + 2).min(length);
        assert_eq!(
            range(&folder, &listing, start, end),
            archive[start as usize..end as usize]
        );
    }
}

#[test]
fn sizes_beyond_eight_gibibytes_are_in_a_pax_header() {
    let base = tempfile::tempdir().unwrap();
    let size = 9 * 1024 * 1024 * 1024;
    write(base.path(), "big", b"", 0o644);
    let entry = Entry {
        size,
        ..list(&OutputFolder::new(base.path(), "")).entries()[0].clone()
    };
    let listing = Listing::new(vec![entry], 0);
    assert_eq!(listing.archive_len(), 3 * 512 + size + 1_024);
    let mut reader = OutputFolder::new(base.path(), "").archive_range(Arc::new(listing), 0, 1_536);
    let headers = reader.next_piece().unwrap().unwrap();
    assert!(headers[512..].starts_with(b"19 size=9663676416\n"));
}

#[test]
fn links_lead_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret", b"secret", 0o644);
    let base = tempfile::tempdir().unwrap();
    symlink(outside.path(), base.path().join("folder")).unwrap();
    symlink(outside.path().join("secret"), base.path().join("file")).unwrap();
    fs::create_dir(base.path().join("out")).unwrap();
    symlink("../file", base.path().join("out/up")).unwrap();
    let stop = AtomicBool::new(false);

    let folder = OutputFolder::new(base.path(), "");
    let listing = list(&folder);
    assert!(
        listing
            .entries()
            .iter()
            .all(|entry| matches!(entry.kind, EntryKind::Link(_)))
    );
    assert_eq!(listing.entries().len(), 3, "links are not followed");
    for path in [
        &b"file"[..],
        b"out/up",
        b"folder/secret",
        b"../secret",
        b"out/../../secret",
        b"/etc/hostname",
        b"out//up",
        b"./file",
        b"out",
        b"",
        b"a\0b",
    ] {
        let read = folder.entry(path, None, &stop);
        assert!(
            matches!(read, Err(ArtifactError::NotFound | ArtifactError::NotAFile)),
            "{read:?}"
        );
    }
    // The output folder itself may be a link by the time it is read.
    for below in ["folder", "file", "out/up/x"] {
        let read = OutputFolder::new(base.path(), below).listing(None, &stop);
        assert!(matches!(read, Err(ArtifactError::NotAFile)), "{read:?}");
    }
    assert!(
        OutputFolder::new(base.path(), "..")
            .listing(None, &stop)
            .unwrap()
            .entries
            .is_empty()
    );
}

#[test]
fn file_that_is_swapped_for_a_link_is_not_read() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret", b"secret", 0o644);
    let base = tempfile::tempdir().unwrap();
    write(base.path(), "sub/file", b"public", 0o644);
    let folder = OutputFolder::new(base.path(), "");
    let listing = list(&folder);
    fs::remove_file(base.path().join("sub/file")).unwrap();
    symlink(outside.path().join("secret"), base.path().join("sub/file")).unwrap();
    let open = |listing: &Listing| folder.open_file(&listing.entries()[0]);
    assert!(matches!(open(&listing), Err(ArtifactError::Changed)));
    fs::remove_dir_all(base.path().join("sub")).unwrap();
    symlink(outside.path(), base.path().join("sub")).unwrap();
    assert!(matches!(open(&listing), Err(ArtifactError::Changed)));
}

#[test]
fn special_files_are_skipped_and_counted() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), "file", b"1", 0o644);
    let made = Command::new("mkfifo")
        .arg(base.path().join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(base.path().join("socket")).unwrap();
    let folder = OutputFolder::new(base.path(), "");
    let listing = list(&folder);
    assert_eq!((listing.entries().len(), listing.skipped()), (1, 2));
    let read = folder.entry(b"pipe", None, &AtomicBool::new(false));
    assert!(matches!(read, Err(ArtifactError::NotAFile)), "{read:?}");
}

#[test]
fn bounds_hold() {
    let base = tempfile::tempdir().unwrap();
    let mut deep = base.path().to_owned();
    for _ in 0..=MAX_DEPTH {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), b"1").unwrap();
    let error = OutputFolder::new(base.path(), "")
        .listing(None, &AtomicBool::new(false))
        .unwrap_err();
    assert!(error.to_string().contains("64 folders"), "{error}");
    let stopped = OutputFolder::new(base.path(), "").listing(None, &AtomicBool::new(true));
    assert!(matches!(stopped, Err(ArtifactError::Stopped)));
}

#[test]
fn hash_is_read_once_unless_the_file_changes() {
    let base = tempfile::tempdir().unwrap();
    write(base.path(), "old", b"old", 0o644);
    let folder = OutputFolder::new(base.path(), "");
    let stop = AtomicBool::new(false);
    let first = folder.listing(None, &stop).unwrap();
    assert!(!first.entries()[0].is_settled, "it may change within a tick");
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let mut known = folder.listing(None, &stop).unwrap();
    assert!(known.entries()[0].is_settled);
    // A mark that only a listing that reads no file can have.
    known.entries[0].hash = [9; 32];
    let entry = |known: &Listing| folder.listing(Some(known), &stop).unwrap().entries()[0].clone();
    assert_eq!(entry(&known).hash, [9; 32]);
    write(base.path(), "old", b"new", 0o644);
    assert_eq!(entry(&known).hash, *blake3::hash(b"new").as_bytes());
}

/// Returns the largest memory that this process had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ten_thousand_files_are_read_in_bounded_memory() {
    let base = tempfile::tempdir().unwrap();
    for number in 0..10_000 {
        let path = format!("{}/{number}", number / 500);
        write(base.path(), &path, &vec![number as u8; 6_000], 0o644);
    }
    let folder = OutputFolder::new(base.path(), "");
    let before = peak_kib();
    let listing = list(&folder);
    assert_eq!(listing.entries().len(), 10_000);
    let mut reader = folder.archive_range(listing.clone(), 0, u64::MAX);
    let mut length = 0;
    while let Some(piece) = reader.next_piece().unwrap() {
        length += piece.len() as u64;
    }
    assert_eq!(length, listing.archive_len());
    assert!(length > 60_000_000);
    let taken = peak_kib() - before;
    assert!(taken < 16 * 1_024, "{taken} KiB");
}

fn kept_range(output: &Output, listing: &Arc<Listing>, start: u64, end: u64) -> Vec<u8> {
    let mut reader = output.archive_range(listing.clone(), start, end).unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next_piece().unwrap() {
        bytes.extend(piece);
    }
    bytes
}

#[test]
fn kept_output_is_the_folder_to_the_byte() {
    let base = tempfile::tempdir().unwrap();
    let out = base.path().join("out");
    let long = "x".repeat(150);
    write(&out, "sub/data", &vec![7; 200_000], 0o640);
    write(&out, "empty", b"", 0o600);
    write(&out, &long, b"long", 0o644);
    symlink("../secret", out.join("link")).unwrap();
    fs::write(out.join(std::ffi::OsStr::from_bytes(b"\xff")), b"odd").unwrap();
    let folder = OutputFolder::new(base.path(), "out");
    let listing = list(&folder);
    let path = base.path().join("kept");
    let content = KeptContent::of(folder.clone()).unwrap();
    let length = content.file_len();
    content.write(&fs::File::create(&path).unwrap()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    let whole = range(&folder, &listing, 0, u64::MAX);
    let data = folder.entry(b"sub/data", None, &AtomicBool::new(false)).unwrap();
    fs::remove_dir_all(&out).unwrap();

    let stop = AtomicBool::new(false);
    let kept = Output::Kept(KeptOutput::new(path.clone()));
    let listed = Arc::new(kept.listing(None, &stop).unwrap());
    assert_eq!(listed.root_hash(), listing.root_hash());
    assert_eq!((listed.archive_len(), listed.skipped()), (whole.len() as u64, 0));
    for (one, other) in listed.entries().iter().zip(listing.entries()) {
        assert_eq!(
            (&one.path, &one.kind, one.mode, one.size, one.hash),
            (&other.path, &other.kind, other.mode, other.size, other.hash)
        );
    }
    assert_eq!(kept_range(&kept, &listed, 0, u64::MAX), whole);
    assert_eq!(kept_range(&kept, &listed, 500, 70_001), whole[500..70_001]);
    // An earlier listing of the folder serves if it is the same, and no other.
    assert_eq!(
        kept.listing(Some(listing.as_ref()), &stop).unwrap().root_hash(),
        listing.root_hash()
    );
    let other = Listing::new(Vec::new(), 0);
    assert_eq!(kept.listing(Some(&other), &stop).unwrap(), *listed);

    let found = kept.entry(b"sub/data", Some(listed.as_ref()), &stop).unwrap();
    assert_eq!((found.hash, found.size), (data.hash, 200_000));
    let mut part = kept.file_range(&found, 199_990, u64::MAX).unwrap();
    assert_eq!(part.next_piece().unwrap(), Some(vec![7; 10]));
    assert_eq!(part.next_piece().unwrap(), None);
    for (path, is_there) in [
        (&b"sub"[..], true),
        (&b"link"[..], true),
        (&b"none"[..], false),
        (&b"../kept"[..], false),
    ] {
        match kept.entry(path, None, &stop) {
            Err(ArtifactError::NotAFile) => assert!(is_there),
            Err(ArtifactError::NotFound) => assert!(!is_there),
            other => panic!("{other:?}"),
        }
    }

    // A damaged file is no listing, and a removed one says so.
    let mut bytes = fs::read(&path).unwrap();
    let index_at = whole.len() + 30;
    bytes[index_at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(kept.listing(None, &stop), Err(ArtifactError::System(_))));
    fs::write(&path, &bytes[..40]).unwrap();
    assert!(matches!(kept.listing(None, &stop), Err(ArtifactError::System(_))));
    fs::remove_file(&path).unwrap();
    assert!(matches!(kept.listing(None, &stop), Err(ArtifactError::Gone)));
}
