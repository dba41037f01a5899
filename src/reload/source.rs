//! Where the configuration comes from, and what was in the files it names when they were read.

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

/// More of a file is not looked at; nothing that long is read.
const LOOK_BYTES_MAX: u64 = 4 << 20;

/// SHA-256 of what is in a file, by path; `None` if it cannot be read. Links are followed, so that a file that a link
/// is turned to is a file with another content.
pub(super) type FileDigests = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// A configuration with where it came from.
pub struct ConfigSource {
    /// The one in use.
    pub config: Config,
    /// `None`: built in.
    path: Option<PathBuf>,
    /// The files as they were last read.
    pub(super) seen: FileDigests,
    /// The same for the configuration in use.
    in_use: FileDigests,
}

/// A configuration that was read and is not in use yet, or its faults.
pub(super) struct LoadedConfig {
    pub(super) config: Result<Config, Vec<String>>,
    pub(super) seen: FileDigests,
}

impl ConfigSource {
    /// Loads a file.
    pub fn open(path: &Path) -> Result<Self, ConfigFaults> {
        let (config, seen) = load(path, Dates::LeftAlone);
        Ok(Self { config: config?, path: Some(path.to_owned()), in_use: seen.clone(), seen })
    }

    /// Judges a file as a reload would that finds nothing of it in use.
    pub fn inspect(path: &Path) -> Result<Config, ConfigFaults> {
        load(path, Dates::Judged(&FileDigests::new())).0
    }

    /// A configuration without a file; it cannot be reloaded.
    pub fn built_in(config: Config) -> Self {
        Self { config, path: None, seen: FileDigests::new(), in_use: FileDigests::new() }
    }

    /// What is in the files now.
    pub(super) fn look(&self) -> Option<FileDigests> {
        self.path.as_ref()?;
        Some(self.seen.keys().map(|path| (path.clone(), look_at(path))).collect())
    }

    /// Reads everything again.
    pub(super) fn read(&mut self) -> Result<LoadedConfig, Vec<String>> {
        let Some(path) = &self.path else {
            return Err(vec!["the configuration is built in; there is no file to reload".to_owned()]);
        };
        let before = self.look().unwrap_or_default();
        let (config, mut seen) = load(path, Dates::Judged(&self.in_use));
        let config = config.map_err(|faults| faults.iter().map(ToString::to_string).collect());
        if config.is_err() {
            // Files that this attempt did not come to are still those of the configuration in use.
            for (path, content) in before {
                seen.entry(path).or_insert(content);
            }
        }
        Ok(LoadedConfig { config, seen })
    }

    /// What was read is the configuration in use from now on.
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
    // Asked before opening, because opening a pipe waits for its writer.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut content = Zeroizing::new(Vec::new());
    let read: io::Result<_> =
        File::open(path).and_then(|file| file.take(LOOK_BYTES_MAX).read_to_end(&mut content));
    read.ok()?;
    digest(&SHA256, &content).as_ref().try_into().ok()
}

/// Whether a certificate that clients refuse now is a fault.
#[derive(Clone, Copy)]
enum Dates<'s> {
    /// No: a process that starts serves what it can.
    LeftAlone,
    /// Yes, unless it is the one in use: what else is in the file must not wait for another one.
    Judged(&'s FileDigests),
}

/// The system's sources, with a note of every file that is asked for. What it notes is never newer than what is used.
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
