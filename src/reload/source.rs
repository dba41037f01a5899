//! The source of the configuration, and digests of the files it was read from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::config::{self, Config, ConfigFaults, SecretSources, SourceError, System};
use crate::identity::{self, IdentityError};

/// The most bytes of a file that enter its digest. No longer file is ever read.
const LOOK_BYTES_MAX: u64 = 4 << 20;

/// SHA-256 of each file's contents by path; `None` if a file cannot be read. Symbolic links are followed, so that a
/// changed link target counts as changed contents.
pub(super) type FileDigests = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// The configuration in use and its source.
pub struct ConfigSource {
    /// The configuration in use.
    pub config: Config,
    /// The path of its file; `None` for a built-in configuration.
    path: Option<PathBuf>,
    /// The digests of the files when they were last read.
    pub(super) seen: FileDigests,
    /// The digests of the files that the configuration in use was read from.
    in_use: FileDigests,
}

/// A configuration that was read but is not in use yet, or its faults.
pub(super) struct LoadedConfig {
    pub(super) config: Result<Config, Vec<String>>,
    pub(super) seen: FileDigests,
}

impl ConfigSource {
    /// Loads a file for a start. A certificate with a bad date is not a fault then.
    pub fn open(path: &Path) -> Result<Self, ConfigFaults> {
        let (config, seen) = load(path, Dates::LeftAlone);
        Ok(Self { config: config?, path: Some(path.to_owned()), in_use: seen.clone(), seen })
    }

    /// Loads a file as a reload would that finds none of its certificates in use.
    pub fn inspect(path: &Path) -> Result<Config, ConfigFaults> {
        load(path, Dates::Judged(&FileDigests::new())).0
    }

    /// Wraps a configuration without a file, which cannot be reloaded.
    pub fn built_in(config: Config) -> Self {
        Self { config, path: None, seen: FileDigests::new(), in_use: FileDigests::new() }
    }

    /// The digests of the files as they are now; `None` if there is no file.
    pub(super) fn look(&self) -> Option<FileDigests> {
        self.path.as_ref()?;
        Some(self.seen.keys().map(|path| (path.clone(), look_at(path))).collect())
    }

    /// Reads the configuration again.
    pub(super) fn read(&mut self) -> Result<LoadedConfig, Vec<String>> {
        let Some(path) = &self.path else {
            return Err(vec!["the configuration is built in; there is no file to reload".to_owned()]);
        };
        let before = self.look().unwrap_or_default();
        let (config, mut seen) = load(path, Dates::Judged(&self.in_use));
        let config = config.map_err(|faults| faults.iter().map(ToString::to_string).collect());
        if config.is_err() {
            // Files that this attempt did not reach are still those of the configuration in use.
            for (path, content) in before {
                seen.entry(path).or_insert(content);
            }
        }
        Ok(LoadedConfig { config, seen })
    }

    /// Makes `config` the configuration in use.
    pub(super) fn take_in_use(&mut self, config: Config, seen: FileDigests) {
        self.in_use.clone_from(&seen);
        (self.config, self.seen) = (config, seen);
    }
}

fn load(path: &Path, dates: Dates<'_>) -> (Result<Config, ConfigFaults>, FileDigests) {
    let recorder = Recorder { seen: RefCell::default(), dates };
    recorder.note(path);
    let config = config::load_with(path, &recorder);
    (config, recorder.seen.into_inner())
}

fn look_at(path: &Path) -> Option<[u8; 32]> {
    // Checked before opening, because opening a pipe blocks until it has a writer.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut content = Zeroizing::new(Vec::new());
    let read: io::Result<_> =
        File::open(path).and_then(|file| file.take(LOOK_BYTES_MAX).read_to_end(&mut content));
    read.ok()?;
    digest(&SHA256, &content).as_ref().try_into().ok()
}

/// Whether a certificate that clients would refuse now is a fault.
#[derive(Clone, Copy)]
enum Dates<'s> {
    /// It is not: a starting process serves what it can.
    LeftAlone,
    /// It is, unless the certificate is in use already: other changes in the file must not wait for a new certificate.
    Judged(&'s FileDigests),
}

/// Reads from the system and records a digest of every file that is asked for. The digest is taken before the file is
/// used, so it is never newer than the contents used.
struct Recorder<'s> {
    seen: RefCell<FileDigests>,
    dates: Dates<'s>,
}

impl Recorder<'_> {
    fn note(&self, path: &Path) {
        self.seen.borrow_mut().insert(path.to_owned(), look_at(path));
    }

    fn may_be_refused(&self, certificate: Option<&Path>) -> bool {
        match (self.dates, certificate) {
            (Dates::LeftAlone, _) | (_, None) => true,
            (Dates::Judged(in_use), Some(path)) => {
                in_use.contains_key(path) && in_use.get(path) == self.seen.borrow().get(path)
            }
        }
    }
}

impl SecretSources for Recorder<'_> {
    fn variable(&self, name: &str) -> Result<Zeroizing<String>, SourceError> {
        System.variable(name)
    }

    fn secret_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        self.note(path);
        System.secret_file(path)
    }

    fn readable(&self, path: &Path) -> Result<(), SourceError> {
        self.note(path);
        System.readable(path)
    }

    fn identity_faults(&self, certificate: Option<&Path>, private_key: Option<&Path>) -> Vec<IdentityError> {
        if self.may_be_refused(certificate) {
            System.identity_faults(certificate, private_key)
        } else {
            identity::faults(certificate, private_key, SystemTime::now())
        }
    }
}
