//! The kernel's report interface configfs-tsm, for TDX and SEV-SNP.
//!
//! Source: Linux, `Documentation/ABI/testing/configfs-tsm-report`. A folder created below `report/` is a
//! report: the data written to `inblob` is signed as part of the report that `outblob` returns. `generation`
//! counts the writes, so that the creator of the folder notices a concurrent write.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use assay_evidence::{Binding, intel::MAX_QUOTE_BYTES, snp::REPORT_BYTES};
use assay_primitives::market::TeeKind;

use super::{
    bounded,
    snp::{MAX_TABLE_BYTES, certificates_of_table},
    source::{Collected, DevicePaths, EvidenceSource, MissingSource, SourceError},
};

const WHAT: &str = "configfs-tsm (TDX, SEV-SNP)";

type FolderCall = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// Calls that create and remove report folders: the kernel fills and empties them by itself.
struct Folders {
    make: FolderCall,
    remove: FolderCall,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            make: Box::new(|path| fs::create_dir(path)),
            remove: Box::new(|path| fs::remove_dir(path)),
        }
    }
}

struct Configfs {
    reports: PathBuf,
    folders: Folders,
    kind: TeeKind,
}

/// Returns the kernel as a source of reports, with the TEE that they are of.
pub(super) fn look(paths: &DevicePaths) -> Result<Arc<dyn EvidenceSource>, MissingSource> {
    look_with(paths, Folders::default()).map(|source| Arc::new(source) as Arc<dyn EvidenceSource>)
}

fn look_with(paths: &DevicePaths, folders: Folders) -> Result<Configfs, MissingSource> {
    let reports = &paths.tsm_reports;
    if !reports.is_dir() {
        return Err(MissingSource::new(
            WHAT,
            format!(
                "{} is not there; run the worker in a TDX trust domain or a SEV-SNP guest with a kernel of 6.7 or later \
                 with CONFIG_TSM_REPORTS, and mount configfs (`mount -t configfs none /sys/kernel/config`)",
                reports.display()
            ),
        ));
    }
    let provider = Entry::make(reports, &folders).and_then(|entry| entry.text("provider"));
    let kind = match provider.as_deref() {
        Ok("tdx_guest") => TeeKind::Tdx,
        Ok("sev_guest") => TeeKind::SevSnp,
        Ok(other) => {
            return Err(MissingSource::new(
                WHAT,
                format!(
                    "the kernel's reports come from {other:?}; the chain verifies those of tdx_guest and sev_guest"
                ),
            ));
        }
        Err(SourceError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(MissingSource::new(
                WHAT,
                format!(
                    "making a report below {} is not allowed; run the worker as root, or give its user the right to it",
                    reports.display()
                ),
            ));
        }
        Err(error) => {
            return Err(MissingSource::new(
                WHAT,
                format!(
                    "{error}; no driver serves reports here: load tdx_guest or sev_guest in a confidential guest"
                ),
            ));
        }
    };
    Ok(Configfs {
        reports: reports.clone(),
        folders,
        kind,
    })
}

impl EvidenceSource for Configfs {
    fn name(&self) -> &str {
        "configfs-tsm"
    }

    fn kind(&self) -> TeeKind {
        self.kind
    }

    fn collect(&self, binding: &Binding) -> Result<Collected, SourceError> {
        let entry = Entry::make(&self.reports, &self.folders)?;
        let generation = entry.generation()?;
        let mut writes = 0;
        // A guest below the most privileged level may only request its own or a lower level.
        if let Some(floor) = entry.privilege_floor()?
            && floor > 0
        {
            bounded::write(&entry.file("privlevel"), floor.to_string().as_bytes())?;
            writes += 1;
        }
        bounded::write(&entry.file("inblob"), &binding.report_data())?;
        writes += 1;
        let limit = match self.kind {
            TeeKind::SevSnp => REPORT_BYTES,
            _ => MAX_QUOTE_BYTES,
        };
        let out = bounded::read(&entry.file("outblob"), limit)?;
        let table = match self.kind {
            TeeKind::SevSnp => bounded::read_if_present(&entry.file("auxblob"), MAX_TABLE_BYTES)?,
            _ => None,
        };
        if entry.generation()? != generation.wrapping_add(writes) {
            return Err(SourceError::Raced {
                path: entry.path.clone(),
            });
        }
        if self.kind != TeeKind::SevSnp {
            return Ok(Collected::Quote(out));
        }
        let certificates = certificates_of_table(&table.unwrap_or_default()).unwrap_or_else(|problem| {
            tracing::warn!(
                problem,
                "reading the host's certificates failed; requesting them from AMD"
            );
            Vec::new()
        });
        Ok(Collected::Snp {
            report: out,
            certificates,
        })
    }
}

/// A report folder of our own, removed on drop.
struct Entry<'a> {
    path: PathBuf,
    folders: &'a Folders,
}

impl<'a> Entry<'a> {
    fn make(reports: &Path, folders: &'a Folders) -> Result<Self, SourceError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = reports.join(format!("assay-{}-{count}", process::id()));
        match (folders.make)(&path) {
            Ok(()) => (),
            // Left by a worker with the same process id that was killed here, as happens in containers.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (folders.remove)(&path).map_err(|error| SourceError::io("remove", &path, error))?;
                (folders.make)(&path).map_err(|error| SourceError::io("make", &path, error))?;
            }
            Err(error) => return Err(SourceError::io("make", &path, error)),
        }
        Ok(Self { path, folders })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn text(&self, name: &str) -> Result<String, SourceError> {
        bounded::read_text(&self.file(name))
    }

    fn generation(&self) -> Result<u64, SourceError> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| {
            SourceError::refused(
                self.file("generation").display().to_string(),
                format!("{text:?} is no number"),
            )
        })
    }

    /// Returns the most privileged level that this guest may request; `None` if there are no levels.
    fn privilege_floor(&self) -> Result<Option<u32>, SourceError> {
        let bytes = bounded::read_if_present(&self.file("privlevel_floor"), 64)?;
        Ok(bytes.and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse().ok()))
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Err(error) = (self.folders.remove)(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "removing a report's folder failed");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{process::Command, sync::Mutex, thread};

    use super::{
        super::{snp::tests::table, tests::BINDING},
        *,
    };

    /// Behaviour of a kernel.
    #[derive(Clone)]
    struct Kernel {
        provider: &'static str,
        /// Returns the report for the data in `inblob`.
        answer: fn(&[u8]) -> Vec<u8>,
        aux: Option<Vec<u8>>,
        floor: Option<&'static str>,
        /// True if another program writes while the report is made.
        raced: bool,
    }

    fn echo(asked: &[u8]) -> Vec<u8> {
        [b"quote of ", asked].concat()
    }

    fn report(asked: &[u8]) -> Vec<u8> {
        let mut report = vec![0; REPORT_BYTES];
        report[0x50..0x90].copy_from_slice(asked);
        report
    }

    const TDX: Kernel = Kernel {
        provider: "tdx_guest\n",
        answer: echo,
        aux: None,
        floor: None,
        raced: false,
    };

    /// A folder in place of configfs with a kernel behind it, and a record of the removed folders.
    struct World {
        _folder: tempfile::TempDir,
        paths: DevicePaths,
        removed: Arc<Mutex<Vec<PathBuf>>>,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let paths = DevicePaths::below(folder.path());
            fs::create_dir_all(&paths.tsm_reports).unwrap();
            Self {
                _folder: folder,
                paths,
                removed: Arc::default(),
                written: Arc::default(),
            }
        }

        /// Creates report folders as a kernel does, which fills them at once and signs when `outblob` is
        /// read.
        fn folders(&self, kernel: Kernel) -> Folders {
            let (removed, written) = (self.removed.clone(), self.written.clone());
            let make = move |path: &Path| {
                fs::create_dir(path)?;
                fs::write(path.join("provider"), kernel.provider)?;
                fs::write(path.join("generation"), "7\n")?;
                fs::write(path.join("inblob"), "")?;
                if let Some(aux) = &kernel.aux {
                    fs::write(path.join("auxblob"), aux)?;
                }
                if let Some(floor) = kernel.floor {
                    fs::write(path.join("privlevel_floor"), floor)?;
                    fs::write(path.join("privlevel"), "")?;
                }
                // Opening the pipe blocks until the thread opens its other end, as with a kernel.
                let out = path.join("outblob");
                assert!(Command::new("mkfifo").arg(&out).status()?.success());
                let (kernel, path, written) = (kernel.clone(), path.to_owned(), written.clone());
                thread::spawn(move || {
                    let Ok(mut pipe) = fs::OpenOptions::new().write(true).open(&out) else {
                        return;
                    };
                    let asked = fs::read(path.join("inblob")).unwrap();
                    let level = fs::read_to_string(path.join("privlevel")).unwrap_or_default();
                    let mut writes = usize::from(!asked.is_empty()) + usize::from(!level.is_empty());
                    writes += usize::from(kernel.raced);
                    fs::write(path.join("generation"), (7 + writes).to_string()).unwrap();
                    written.lock().unwrap().push(level);
                    let _ = io::Write::write_all(&mut pipe, &(kernel.answer)(&asked));
                });
                Ok(())
            };
            let remove = move |path: &Path| {
                removed.lock().unwrap().push(path.to_owned());
                fs::remove_dir_all(path)
            };
            Folders {
                make: Box::new(make),
                remove: Box::new(remove),
            }
        }

        fn source(&self, kernel: Kernel) -> Result<Configfs, MissingSource> {
            look_with(&self.paths, self.folders(kernel))
        }

        fn is_clean(&self) -> bool {
            fs::read_dir(&self.paths.tsm_reports).unwrap().next().is_none()
        }
    }

    #[test]
    fn quote_is_asked_for_with_the_binding_and_the_folder_removed() {
        let world = World::new();
        let source = world.source(TDX).unwrap();
        assert_eq!(source.kind(), TeeKind::Tdx);
        assert_eq!(
            source.collect(&BINDING).unwrap(),
            Collected::Quote(echo(&BINDING.report_data()))
        );
        // One folder for reading the provider, one for the report.
        assert_eq!(world.removed.lock().unwrap().len(), 2);
        assert!(world.is_clean());
    }

    #[test]
    fn report_comes_with_the_certificates_of_the_host() {
        let world = World::new();
        let source = world
            .source(Kernel {
                provider: "sev_guest",
                answer: report,
                aux: Some(table()),
                ..TDX
            })
            .unwrap();
        assert_eq!(source.kind(), TeeKind::SevSnp);
        let Collected::Snp {
            report: found,
            certificates,
        } = source.collect(&BINDING).unwrap()
        else {
            panic!("it is no report")
        };
        assert_eq!(found, report(&BINDING.report_data()));
        assert_eq!(
            certificates,
            [b"the chip's".to_vec(), b"the authority's".to_vec()]
        );
        assert_eq!(*world.written.lock().unwrap(), [""]);
    }

    #[test]
    fn guest_below_the_highest_level_asks_for_its_own() {
        let world = World::new();
        let source = world
            .source(Kernel {
                provider: "sev_guest",
                answer: report,
                floor: Some("2\n"),
                ..TDX
            })
            .unwrap();
        let collected = source.collect(&BINDING).unwrap();
        assert!(matches!(collected, Collected::Snp { certificates, .. } if certificates.is_empty()));
        assert_eq!(*world.written.lock().unwrap(), ["2"]);
    }

    #[test]
    fn somebody_elses_write_is_noticed() {
        let world = World::new();
        let source = world.source(Kernel { raced: true, ..TDX }).unwrap();
        assert!(matches!(source.collect(&BINDING), Err(SourceError::Raced { .. })));
        assert!(world.is_clean());
    }

    #[test]
    fn answers_are_read_up_to_their_bound() {
        let world = World::new();
        let long = Kernel {
            answer: |_| vec![1; MAX_QUOTE_BYTES + 1],
            ..TDX
        };
        assert!(matches!(
            world.source(long).unwrap().collect(&BINDING),
            Err(SourceError::TooLong {
                limit: MAX_QUOTE_BYTES,
                ..
            })
        ));
        let long = Kernel {
            provider: "sev_guest",
            answer: |_| vec![1; REPORT_BYTES + 1],
            ..TDX
        };
        assert!(matches!(
            world.source(long).unwrap().collect(&BINDING),
            Err(SourceError::TooLong {
                limit: REPORT_BYTES,
                ..
            })
        ));
        assert!(world.is_clean());
    }

    #[test]
    fn generation_that_is_no_number_is_an_error() {
        let world = World::new();
        let source = world.source(TDX).unwrap();
        let folders = Folders {
            make: Box::new(|path| {
                fs::create_dir(path)?;
                fs::write(path.join("generation"), "many")
            }),
            remove: Box::new(|path| fs::remove_dir_all(path)),
        };
        let source = Configfs { folders, ..source };
        let error = source.collect(&BINDING).unwrap_err().to_string();
        assert!(error.contains("\"many\" is no number"), "{error}");
    }

    #[test]
    fn every_missing_piece_says_what_to_do() {
        let missing = |result: Result<Configfs, MissingSource>| result.map(|_| ()).unwrap_err().to_string();
        let world = World::new();
        let other = Kernel {
            provider: "arm_cca_guest",
            ..TDX
        };
        let text = missing(world.source(other));
        assert!(text.contains("\"arm_cca_guest\""), "{text}");
        // A kernel without a driver refuses to create the folder.
        let text = missing(look_with(
            &world.paths,
            Folders {
                make: Box::new(|_| Err(io::Error::from_raw_os_error(6))),
                ..Folders::default()
            },
        ));
        assert!(text.contains("load tdx_guest or sev_guest"), "{text}");
        let text = missing(look_with(
            &world.paths,
            Folders {
                make: Box::new(|_| Err(io::ErrorKind::PermissionDenied.into())),
                ..Folders::default()
            },
        ));
        assert!(text.contains("run the worker as root"), "{text}");
        // Folders that are no reports stay empty, and are removed.
        let text = missing(look_with(&world.paths, Folders::default()));
        assert!(text.contains("provider"), "{text}");
        assert!(world.is_clean());
        fs::remove_dir_all(&world.paths.tsm_reports).unwrap();
        let text = missing(look_with(&world.paths, Folders::default()));
        assert!(text.contains("6.7"), "{text}");
    }
}
