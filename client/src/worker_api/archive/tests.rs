#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Entries as they came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    files: Vec<(Vec<u8>, u32, Vec<u8>)>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    is_open: bool,
    fails: bool,
}

impl ArchiveSink for Seen {
    fn begin_file(&mut self, path: &[u8], mode: u32, _size: u64) -> io::Result<()> {
        assert!(!self.is_open);
        self.is_open = true;
        self.files.push((path.to_vec(), mode, Vec::new()));
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(self.is_open);
        if self.fails {
            return Err(io::Error::other("full"));
        }
        self.files.last_mut().unwrap().2.extend(bytes);
        Ok(())
    }

    fn end_file(&mut self) -> io::Result<()> {
        assert!(self.is_open);
        self.is_open = false;
        Ok(())
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        assert!(!self.is_open);
        self.links.push((path.to_vec(), target.to_vec()));
        Ok(())
    }
}

/// Writes a header.
fn header(path: &[u8], target: &[u8], kind: u8, mode: u32, size: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path);
    put(100, format!("{mode:07o}").as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(156, &[kind]);
    put(157, target);
    put(257, b"ustar\x0000");
    seal(&mut block);
    block
}

/// Puts the right sum into a header.
fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn file(path: &[u8], mode: u32, content: &[u8]) -> Vec<u8> {
    let header = header(path, b"", b'0', mode, content.len() as u64);
    [header, padded(content.to_vec())].concat()
}

fn link(path: &[u8], target: &[u8]) -> Vec<u8> {
    header(path, target, b'2', 0o777, 0)
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|length: &usize| rest + length.to_string().len() == *length);
    let length = length.unwrap().to_string();
    [length.as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

fn extension(records: &[Vec<u8>]) -> Vec<u8> {
    let records = records.concat();
    let header = header(b"././@PaxHeader", b"", b'x', 0o644, records.len() as u64);
    [header, padded(records)].concat()
}

fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn read_in_pieces(
    archive: &[u8],
    piece: usize,
    max_bytes: u64,
) -> Result<(Seen, ArchiveSummary), ArchiveError> {
    let (mut reader, mut seen) = (ArchiveReader::new(max_bytes), Seen::default());
    for piece in archive.chunks(piece.max(1)) {
        reader.push(piece, &mut seen)?;
    }
    Ok((seen, reader.finish()?))
}

fn read(archive: &[u8]) -> Result<(Seen, ArchiveSummary), ArchiveError> {
    read_in_pieces(archive, archive.len(), 1_000_000)
}

/// Returns the root hash by the words of its definition.
fn root(entries: &[(u8, &[u8], u32, &[u8])]) -> [u8; 32] {
    let mut bytes = b"assay/output/v1".to_vec();
    bytes.extend((entries.len() as u64).to_le_bytes());
    for (kind, path, mode, content) in entries {
        bytes.push(*kind);
        bytes.extend((path.len() as u32).to_le_bytes());
        bytes.extend(*path);
        bytes.extend(mode.to_le_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend(blake3::hash(content).as_bytes());
    }
    blake3::hash(&bytes).into()
}

/// An archive with everything that workers write.
fn good() -> Vec<u8> {
    let long = [&b"d/"[..], &[b'x'; 200]].concat();
    [
        file(b"a", 0o644, b"first"),
        file(b"b/empty", 0o600, b""),
        file(b"b/exact", 0o755, &[7; BLOCK]),
        link(b"c", b"../elsewhere"),
        extension(&[record("path", &long)]),
        file(&long[..100], 0o640, b"long"),
        extension(&[
            record("hdrcharset", b"BINARY"),
            record("path", b"\xff"),
            record("size", b"3"),
        ]),
        file(b"?", 0o644, b"odd"),
        end(),
    ]
    .concat()
}

#[test]
fn entries_and_root_hash_are_read() {
    let long = [&b"d/"[..], &[b'x'; 200]].concat();
    let expected = root(&[
        (0, b"a", 0o644, b"first"),
        (0, b"b/empty", 0o600, b""),
        (0, b"b/exact", 0o755, &[7; BLOCK]),
        (1, b"c", 0, b"../elsewhere"),
        (0, &long, 0o640, b"long"),
        (0, b"\xff", 0o644, b"odd"),
    ]);
    let archive = good();
    for piece in [1, 7, BLOCK, 700, archive.len()] {
        let (seen, summary) = read_in_pieces(&archive, piece, 1_000_000).unwrap();
        assert_eq!(summary.root_hash, expected);
        assert_eq!((summary.files, summary.links, summary.bytes), (5, 1, 524));
        assert_eq!(seen.files[0], (b"a".to_vec(), 0o644, b"first".to_vec()));
        assert_eq!(seen.files[3], (long.clone(), 0o640, b"long".to_vec()));
        assert_eq!(seen.links, [(b"c".to_vec(), b"../elsewhere".to_vec())]);
    }
    let (_, empty) = read(&end()).unwrap();
    assert_eq!(empty.root_hash, root(&[]));
}

#[test]
fn paths_that_lead_out_are_refused() {
    let deep = [&b"a/".repeat(MAX_DEPTH + 1)[..], b"b"].concat();
    for path in [
        &b"/etc/passwd"[..],
        b"../a",
        b"a/../../b",
        b"a/..",
        b".",
        b"./a",
        b"a//b",
        b"a/",
        b"",
        &deep,
        &[b'a'; MAX_NAME_BYTES + 1],
    ] {
        let archive = [extension(&[record("path", path)]), file(b"a", 0o644, b"x"), end()].concat();
        let error = read(&archive).unwrap_err();
        assert!(matches!(error, ArchiveError::BadPath { .. }), "{path:?}: {error}");
    }
    let nul = [extension(&[record("path", b"a\0b")]), link(b"a", b"b"), end()].concat();
    assert!(matches!(read(&nul), Err(ArchiveError::BadPath { .. })));
}

#[test]
fn entry_that_comes_again_or_out_of_order_is_refused() {
    for second in [&b"b"[..], b"a"] {
        let archive = [link(b"b", b"/etc"), file(second, 0o644, b"x"), end()].concat();
        assert!(matches!(read(&archive), Err(ArchiveError::BadPath { .. })));
    }
}

#[test]
fn other_kinds_of_entries_are_refused() {
    // Hard link, devices, folder, pipe, and what other programs call long names.
    for kind in *b"134567LKg\0" {
        let archive = [header(b"a", b"b", kind, 0o644, 0), end()].concat();
        assert!(
            matches!(read(&archive), Err(ArchiveError::NotAnArchive(_))),
            "{kind}"
        );
    }
    let archive = [header(b"a", b"", b'0', 0o4755, 0), end()].concat();
    assert!(matches!(read(&archive), Err(ArchiveError::NotAnArchive(_))));
}

#[test]
fn bounds_hold() {
    let archive = [file(b"a", 0o644, &[1; 600]), file(b"b", 0o644, &[1; 600]), end()].concat();
    assert!(read_in_pieces(&archive, 512, 1_200).is_ok());
    let error = read_in_pieces(&archive, 512, 1_199).unwrap_err();
    assert!(matches!(error, ArchiveError::TooMuch(_)), "{error}");
    // A size that no archive could have is refused before its content comes.
    let huge = [
        extension(&[record("size", u64::MAX.to_string().as_bytes())]),
        header(b"a", b"", b'0', 0o644, 1),
        header(b"b", b"", b'0', 0o644, 1),
    ]
    .concat();
    assert!(matches!(read(&huge), Err(ArchiveError::TooMuch(_))));
    let extension = header(b"x", b"", b'x', 0o644, 1 << 30);
    assert!(matches!(read(&extension), Err(ArchiveError::NotAnArchive(_))));
    let mut many = Vec::new();
    for number in 0..=MAX_ENTRIES {
        many.extend(link(format!("{number:08}").as_bytes(), b"t"));
    }
    many.extend(end());
    assert!(matches!(read(&many), Err(ArchiveError::TooMuch(_))));
}

#[test]
fn archive_that_was_cut_off_or_goes_on_is_refused() {
    let archive = good();
    for length in [0, 1, BLOCK, archive.len() - BLOCK, archive.len() - 1] {
        let error = read(&archive[..length]).unwrap_err();
        assert!(matches!(error, ArchiveError::Incomplete), "{length}: {error}");
    }
    let longer = [archive, file(b"z", 0o644, b"more")].concat();
    assert!(matches!(read(&longer), Err(ArchiveError::NotAnArchive(_))));
    let without_entry = [extension(&[record("path", b"a")]), end()].concat();
    assert!(matches!(read(&without_entry), Err(ArchiveError::NotAnArchive(_))));
}

#[test]
fn headers_of_other_programs_are_refused() {
    let changed = |change: &dyn Fn(&mut Vec<u8>), is_sealed: bool| {
        let mut block = link(b"a", b"b");
        change(&mut block);
        if is_sealed {
            seal(&mut block);
        }
        read(&[block, end()].concat())
    };
    assert!(changed(&|_| (), true).is_ok());
    assert!(changed(&|block| block[0] = b'b', false).is_err(), "wrong sum");
    assert!(changed(&|block| block[345] = b'p', true).is_err(), "prefix");
    assert!(changed(&|block| block[257] = b'v', true).is_err(), "magic");
    assert!(
        changed(&|block| block[124] = b'9', true).is_err(),
        "no octal digit"
    );
    assert!(changed(&|block| block[157] = 0, true).is_err(), "no target");
    for records in [
        &b"5 a=b\n"[..],
        b"99 path=a\n",
        b"path=a\n",
        b"10 path=ab ",
        b"6 path\n",
        b"11 size=-1a\n",
        b"99999999999999999999999 path=a\n",
    ] {
        let archive = [extension(&[records.to_vec()]), link(b"a", b"b"), end()].concat();
        assert!(read(&archive).is_err(), "{records:?}");
    }
}

#[test]
fn failure_to_store_names_the_entry() {
    let mut seen = Seen {
        fails: true,
        ..Seen::default()
    };
    let error = ArchiveReader::new(1_000).push(&good(), &mut seen).unwrap_err();
    assert_eq!(error.to_string(), "\"a\" could not be stored: full");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        changes in prop::collection::vec((0_usize..4_000, any::<u8>()), 0..8),
        piece in 1_usize..900,
        is_sealed: bool,
    ) {
        let mut archive = good();
        for (at, byte) in changes {
            if let Some(changed) = archive.get_mut(at) {
                *changed = byte;
            }
        }
        if is_sealed {
            seal(&mut archive[..BLOCK]);
        }
        if let Ok((seen, _)) = read_in_pieces(&archive, piece, 1_000_000) {
            for (path, ..) in &seen.files {
                prop_assert!(!path.starts_with(b"/"));
                prop_assert!(!path.split(|byte| *byte == b'/').any(|name| matches!(name, b"" | b"." | b"..")));
            }
        }
    }
}
