//! Where a configuration reaches outside its own text: environment variables and files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::fault::shown;
use super::reader::Value;
use super::secrets::{self, SecretOrigin};
use super::words;
use crate::identity::{self, IdentityError, RootsError};
use crate::secret::Secret;

/// The longest secret file that is read.
pub const SECRET_FILE_BYTES_MAX: usize = 64 << 10;

/// The origin of a secret that stands in the configuration itself.
const INLINE: &str = "the secret";

/// What a configuration refers to. The system's own is [`System`]; tests bring theirs.
pub trait SecretSources {
    /// The text of an environment variable.
    fn variable(&self, name: &str) -> Result<Zeroizing<String>, SourceError>;

    /// The content of a file of at most [`SECRET_FILE_BYTES_MAX`] bytes.
    fn secret_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError>;

    /// Whether a file can be opened for reading.
    fn readable(&self, path: &Path) -> Result<(), SourceError>;

    /// What is wrong with a certificate chain and its key, as far as their files can be opened. Dates are left to those
    /// who serve it.
    fn identity_faults(&self, certificate: Option<&Path>, private_key: Option<&Path>) -> Vec<IdentityError> {
        let mut faults = identity::faults(certificate, private_key, SystemTime::now());
        faults.retain(|fault| !matches!(fault, IdentityError::NotNow(_)));
        faults
    }

    /// What is wrong with a file of trust roots.
    fn roots_fault(&self, path: &Path) -> Option<RootsError> {
        identity::read_roots(path).err()
    }
}

/// Why a source gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such variable.
    #[error("is not set")]
    NotSet,
    /// The content is no text.
    #[error("is not UTF-8")]
    NotText,
    /// The content is text as PowerShell writes it unless told otherwise.
    #[error("is UTF-16; save it as UTF-8")]
    Utf16,
    /// More than [`SECRET_FILE_BYTES_MAX`].
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// A folder, a pipe or a device, on which reading could wait for ever.
    #[error("is not a regular file")]
    NotAFile,
    /// The system refused.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl SourceError {
    /// Of a content that is no UTF-8.
    pub(super) fn of_no_text(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            Self::Utf16
        } else {
            Self::NotText
        }
    }
}

/// The environment of the process and the file system.
pub struct System;

impl SecretSources for System {
    fn variable(&self, name: &str) -> Result<Zeroizing<String>, SourceError> {
        let text = std::env::var_os(name).ok_or(SourceError::NotSet)?.into_string();
        text.map(Zeroizing::new).map_err(|_| SourceError::NotText)
    }

    fn secret_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        // Room for all of it from the start: a buffer that grows leaves pieces of the secret behind.
        let mut content = Zeroizing::new(Vec::with_capacity(SECRET_FILE_BYTES_MAX + 1));
        open(path)?.take(SECRET_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
        if content.len() > SECRET_FILE_BYTES_MAX { Err(SourceError::TooLarge) } else { Ok(content) }
    }

    fn readable(&self, path: &Path) -> Result<(), SourceError> {
        open(path).map(drop)
    }
}

fn open(path: &Path) -> Result<File, SourceError> {
    // Asked before opening, because opening a pipe waits for its writer.
    if std::fs::metadata(path)?.is_file() { Ok(File::open(path)?) } else { Err(SourceError::NotAFile) }
}

/// The sources together with the folder that relative paths start from.
pub(super) struct Outside<'s> {
    pub(super) base: &'s Path,
    pub(super) sources: &'s dyn SecretSources,
}

impl Outside<'_> {
    /// A file that must be readable.
    pub(super) fn file(&self, value: &Value<'_>) -> Option<PathBuf> {
        let written = value.text()?;
        let path = self.base.join(written);
        match self.sources.readable(&path) {
            Ok(()) => Some(path),
            Err(error) => value.refuse(format!("the file {} {error}", shown(&path.to_string_lossy()))),
        }
    }

    /// A file that we write. Whether that can be done shows at the start.
    pub(super) fn own_file(&self, value: &Value<'_>) -> Option<PathBuf> {
        match value.text()? {
            "" => value.refuse("expected the path of a file"),
            written => Some(self.base.join(written)),
        }
    }

    /// A secret: `{ env: NAME }`, `{ file: PATH }` or `{ value: TEXT }`, and where it comes from. No part of it is ever
    /// quoted.
    pub(super) fn secret(&self, value: &Value<'_>) -> Option<(Secret, SecretOrigin)> {
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

    fn resolve_variable(&self, secret: &Value<'_>, name: &str) -> Option<(Zeroizing<String>, String)> {
        // A secret written where its variable's name belongs must not be repeated in the message.
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

    fn resolve_file(&self, secret: &Value<'_>, written: &str) -> Option<(Zeroizing<String>, String)> {
        let path = self.base.join(written);
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
    value: &Value<'_>,
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
