//! Resolves what a configuration refers to outside its own text: environment variables and files.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use glob::MatchOptions;
use zeroize::Zeroizing;

use super::reader::ConfigValue;
use super::secrets::{self, SecretOrigin};
use super::words::{self, shown};
use crate::identity::{self, IdentityError, RootsError};
use crate::secret::Secret;

/// The longest secret file that is read, in bytes.
pub const SECRET_FILE_BYTES_MAX: usize = 64 << 10;

/// Wildcards stay within one folder's name, and do not match hidden files: editors and Kubernetes keep their own there.
pub(super) const PATTERN_OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The origin of a secret that is written in the configuration itself.
const INLINE: &str = "the secret";

/// Access to what a configuration refers to. [`System`] is the real environment; tests use a fake.
pub trait SecretSources {
    /// Reads an environment variable. Errors: it is not set, or not UTF-8.
    fn variable(&self, name: &str) -> Result<Zeroizing<String>, SourceError>;

    /// Reads a file of at most [`SECRET_FILE_BYTES_MAX`] bytes. A folder, a pipe or a device is an error.
    fn secret_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError>;

    /// Reads a file of at most `bytes_max` bytes that the configuration includes; of a longer one, a byte more. A folder,
    /// a pipe or a device is an error.
    fn config_file(&self, path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let mut content = Zeroizing::new(Vec::new());
        open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Finds the paths that fit a pattern, in alphabetical order. A folder that cannot be listed is an error; one that
    /// does not exist holds no file.
    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
        // An invalid pattern fits nothing. The reader has refused it before.
        let Ok(paths) = glob::glob_with(pattern, PATTERN_OPTIONS) else { return Ok(Vec::new()) };
        paths.map(|path| path.map_err(|error| SourceError::Io(error.into()))).collect()
    }

    /// Checks that a regular file can be opened for reading.
    fn readable(&self, path: &Path) -> Result<(), SourceError>;

    /// Finds faults of a certificate chain and its key, as far as their files can be opened. Expired or future dates
    /// are no fault here: the listener that serves the certificate warns of them.
    fn identity_faults(&self, certificate: Option<&Path>, private_key: Option<&Path>) -> Vec<IdentityError> {
        let mut faults = identity::faults(certificate, private_key, SystemTime::now());
        faults.retain(|fault| !matches!(fault, IdentityError::NotNow(_)));
        faults
    }

    /// Reads a file of trust roots and returns its fault, if it has one.
    fn roots_fault(&self, path: &Path) -> Option<RootsError> {
        identity::read_roots(path).err()
    }
}

/// The folder of a file; of one without a folder in its path, the one that the process is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Which file a path names, whatever links lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileIdentity {
    /// A file that is there: the number of its device, and its own.
    There(u64, u64),
    /// A file that is not there: its path, with its folder resolved if that is there.
    Missing(PathBuf),
}

impl FileIdentity {
    /// Looks at the file system.
    pub(super) fn of(path: &Path) -> Self {
        if let Ok(found) = std::fs::metadata(path) {
            return Self::There(found.dev(), found.ino());
        }
        match (std::fs::canonicalize(folder_of(path)), path.file_name()) {
            (Ok(folder), Some(name)) => Self::Missing(folder.join(name)),
            _ => Self::Missing(path.to_owned()),
        }
    }
}

/// Why a variable or a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The environment has no such variable.
    #[error("is not set")]
    NotSet,
    /// The content is neither UTF-8 nor UTF-16 with a byte-order mark.
    #[error("is not UTF-8")]
    NotText,
    /// The content starts like UTF-16, which PowerShell writes by default.
    #[error("is UTF-16; save it as UTF-8")]
    Utf16,
    /// The file is longer than [`SECRET_FILE_BYTES_MAX`].
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// The path is a folder, a pipe or a device. Reading one could block for ever.
    #[error("is not a regular file")]
    NotAFile,
    /// The operating system refused to open or read the file.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl SourceError {
    /// The error for content that is not UTF-8.
    pub(super) fn of_no_text(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            Self::Utf16
        } else {
            Self::NotText
        }
    }
}

/// Reads the environment of the process and the file system.
pub struct System;

impl SecretSources for System {
    fn variable(&self, name: &str) -> Result<Zeroizing<String>, SourceError> {
        let text = std::env::var_os(name).ok_or(SourceError::NotSet)?.into_string();
        text.map(Zeroizing::new).map_err(|_| SourceError::NotText)
    }

    fn secret_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        // Allocates for the longest file at once: a buffer that grows leaves copies of the secret behind.
        let mut content = Zeroizing::new(Vec::with_capacity(SECRET_FILE_BYTES_MAX + 1));
        open(path)?.take(SECRET_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
        if content.len() > SECRET_FILE_BYTES_MAX { Err(SourceError::TooLarge) } else { Ok(content) }
    }

    fn readable(&self, path: &Path) -> Result<(), SourceError> {
        open(path).map(drop)
    }
}

fn open(path: &Path) -> Result<File, SourceError> {
    // Asks before opening, because opening a pipe blocks until somebody writes to it.
    if std::fs::metadata(path)?.is_file() { Ok(File::open(path)?) } else { Err(SourceError::NotAFile) }
}

/// The sources, and the folder that relative paths are resolved against.
pub(super) struct Outside<'s> {
    pub(super) base: &'s Path,
    pub(super) sources: &'s dyn SecretSources,
    read: RefCell<Vec<PathBuf>>,
}

impl<'s> Outside<'s> {
    pub(super) fn new(base: &'s Path, sources: &'s dyn SecretSources) -> Self {
        Self { base, sources, read: RefCell::default() }
    }

    /// Notes that the configuration is read from this file.
    pub(super) fn note(&self, path: &Path) {
        self.read.borrow_mut().push(path.to_owned());
    }

    /// The files that were noted.
    pub(super) fn read_files(&self) -> Vec<FileIdentity> {
        self.read.borrow().iter().map(|path| FileIdentity::of(path)).collect()
    }

    /// Reads the path of a file and checks that it can be opened.
    pub(super) fn file(&self, value: &ConfigValue<'_>) -> Option<PathBuf> {
        let written = value.text()?;
        let path = self.base.join(written);
        self.note(&path);
        match self.sources.readable(&path) {
            Ok(()) => Some(path),
            Err(error) => value.refuse(format!("the file {} {error}", shown(&path.to_string_lossy()))),
        }
    }

    /// Reads the path of a file that the gateway writes. Whether it can be written is found out at the start.
    pub(super) fn output_file(&self, value: &ConfigValue<'_>) -> Option<PathBuf> {
        match value.text()? {
            "" => value.refuse("expected the path of a file"),
            written => Some(self.base.join(written)),
        }
    }

    /// Reads and resolves a secret, `{ env: NAME }`, `{ file: PATH }` or `{ value: TEXT }`, with its origin. Messages
    /// never quote any part of it.
    pub(super) fn secret(&self, value: &ConfigValue<'_>) -> Option<(Secret, SecretOrigin)> {
        const FORMS: &str = "expected one of { env: NAME }, { file: PATH }, { value: TEXT }";
        if !value.is_section() {
            return value.refuse(FORMS);
        }
        let mut section = value.section().private();
        let forms = (section.get("env"), section.get("file"), section.get("value"));
        let (text, origin) = match forms {
            (Some(name), None, None) => self.resolve_variable(value, name.text()?)?,
            (None, Some(path), None) => self.resolve_file(value, path.text()?)?,
            (None, None, Some(text)) => {
                value.warning("the secret stands in the configuration itself; env or file keeps it apart");
                (Zeroizing::new(text.text()?.to_owned()), INLINE.to_owned())
            }
            _ => return value.refuse(FORMS),
        };
        check(value, text, SecretOrigin(origin))
    }

    fn resolve_variable(&self, secret: &ConfigValue<'_>, name: &str) -> Option<(Zeroizing<String>, String)> {
        // Somebody may have written the secret itself in place of its variable's name. The name is shown only if it
        // cannot be one.
        let is_shown = secrets::is_name(name) && (name.contains('_') || !words::may_be_secret(name));
        let origin = if is_shown { format!("the variable {name}") } else { "the variable".to_owned() };
        let bare = name.trim_start_matches(['$', '{']).trim_end_matches('}');
        if bare != name && secrets::is_name(bare) {
            return secret.refuse("env takes the name of a variable alone, without $ and braces");
        }
        match self.sources.variable(name) {
            Ok(text) => Some((text, origin)),
            Err(error) => secret.refuse(format!("{origin} {error}")),
        }
    }

    fn resolve_file(&self, secret: &ConfigValue<'_>, written: &str) -> Option<(Zeroizing<String>, String)> {
        let path = self.base.join(written);
        self.note(&path);
        let is_shown = written.contains('/') || !words::may_be_secret(written);
        let origin = if is_shown {
            format!("the file {}", shown(&path.to_string_lossy()))
        } else {
            "the file".to_owned()
        };
        let content = self.sources.secret_file(&path).and_then(|mut content| {
            let text = String::from_utf8(std::mem::take(&mut *content))
                .map_err(|error| SourceError::of_no_text(&Zeroizing::new(error.into_bytes())))?;
            Ok(Zeroizing::new(text))
        });
        match content {
            Ok(text) => Some((text, origin)),
            Err(error) => secret.refuse(format!("{origin} {error}")),
        }
    }
}

fn check(
    value: &ConfigValue<'_>,
    mut text: Zeroizing<String>,
    origin: SecretOrigin,
) -> Option<(Secret, SecretOrigin)> {
    let place = if origin.0 == INLINE { String::new() } else { format!("; it comes from {}", origin.0) };
    let Some(secret) = Secret::new(std::mem::take(&mut *text)) else {
        return value.refuse(format!("the secret is empty{place}"));
    };
    if secret.expose().chars().any(|c| c.is_control() || c == '\u{feff}') {
        let problem = "the secret contains control characters, a line break or a byte-order mark";
        return value.refuse(format!("{problem}{place}"));
    }
    Some((secret, origin))
}
