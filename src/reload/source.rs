//! The source of the configuration, and what it was read from.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::watch::Watched;
use crate::config::{self, Config, ConfigFaults, ParsedFiles, SecretSources, SourceError, System};
use crate::identity::{self, IdentityError};

/// The configuration in use and its source.
pub struct ConfigSource {
    /// The configuration in use.
    pub config: Config,
    /// The path of its file; `None` for a built-in configuration.
    path: Option<PathBuf>,
    /// The files when they were last read.
    pub(super) seen: Watched,
    /// The files that the configuration in use was read from.
    in_use: Watched,
}

/// A configuration that was read but is not in use yet, or its faults.
pub(super) struct LoadedConfig {
    pub(super) config: Result<Config, Vec<String>>,
    pub(super) seen: Watched,
}

impl ConfigSource {
    /// Loads a file for a start. A certificate with a bad date is not a fault then.
    pub fn open(path: &Path) -> Result<Self, ConfigFaults> {
        let (config, seen) = load(path, Dates::LeftAlone, &ParsedFiles::default());
        Ok(Self { config: config?, path: Some(path.to_owned()), in_use: seen.clone(), seen })
    }

    /// Loads a file as a reload would that finds none of its certificates in use.
    pub fn inspect(path: &Path) -> Result<Config, ConfigFaults> {
        load(path, Dates::Judged(&Watched::default()), &ParsedFiles::default()).0
    }

    /// Wraps a configuration without a file, which cannot be reloaded.
    pub fn built_in(config: Config) -> Self {
        Self { config, path: None, seen: Watched::default(), in_use: Watched::default() }
    }

    /// The files as they are now; `None` if there is no file.
    pub(super) fn look(&self) -> Option<Watched> {
        self.path.as_ref()?;
        Some(self.seen.again())
    }

    /// Reads the configuration again. Of the files that it is read from, those are parsed whose bytes are not those of the
    /// configuration in use.
    pub(super) fn read(&mut self) -> Result<LoadedConfig, Vec<String>> {
        let Some(path) = &self.path else {
            return Err(vec!["the configuration is built in; there is no file to reload".to_owned()]);
        };
        let mut before = self.seen.again();
        let (config, mut seen) = load(path, Dates::Judged(&self.in_use), &self.config.parsed);
        let config = config.map_err(|faults| faults.iter().map(ToString::to_string).collect());
        if config.is_err() {
            // Files that this attempt did not reach are still those of the configuration in use.
            before.extend(seen);
            seen = before;
        }
        Ok(LoadedConfig { config, seen })
    }

    /// Makes `config` the configuration in use.
    pub(super) fn take_in_use(&mut self, config: Config, seen: Watched) {
        self.in_use.clone_from(&seen);
        (self.config, self.seen) = (config, seen);
    }
}

fn load(path: &Path, dates: Dates<'_>, known: &ParsedFiles) -> (Result<Config, ConfigFaults>, Watched) {
    let recorder = Recorder { seen: RefCell::default(), dates };
    recorder.note(path);
    let config = config::load_after(path, &recorder, known);
    (config, recorder.seen.into_inner())
}

/// Whether a certificate that clients would refuse now is a fault.
#[derive(Clone, Copy)]
enum Dates<'s> {
    /// It is not: a starting process serves what it can.
    LeftAlone,
    /// It is, unless the certificate is in use already: other changes in the file must not wait for a new certificate.
    Judged(&'s Watched),
}

/// Reads from the system and records every file and pattern that is asked for. A file is looked at before it is used, so
/// the look is never newer than the contents used.
struct Recorder<'s> {
    seen: RefCell<Watched>,
    dates: Dates<'s>,
}

impl Recorder<'_> {
    fn note(&self, path: &Path) {
        self.seen.borrow_mut().note(path);
    }

    fn may_be_refused(&self, certificate: Option<&Path>) -> bool {
        match (self.dates, certificate) {
            (Dates::LeftAlone, _) | (_, None) => true,
            (Dates::Judged(in_use), Some(path)) => in_use.has_same(path, &self.seen.borrow()),
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

    fn config_file(&self, path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        self.note(path);
        System.config_file(path, bytes_max)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
        let matched = System.matching(pattern);
        self.seen.borrow_mut().note_pattern(pattern, matched.as_ref().ok().cloned());
        matched
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
