//! Tests of the configuration: texts in, values or faults out. They do not use the environment, and only `shipped` uses
//! the file system.

mod access;
mod again;
mod faults;
mod hostile;
mod include;
mod shipped;
mod values;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::*;
use crate::identity::{IdentityError, RootsError};
use crate::secret::TokenDigest;

/// Digests of unknown tokens.
pub(super) const DIGEST: &str = "85c7f0f1d1ec7c6a1d0d7de62b5bfb0d5ba4a8e0a2a2f6b0a3b1c6e5d4f3a2b1";
pub(super) const OTHER_DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Secrets and digests that no message may contain.
pub(super) const SECRETS: [&str; 4] = ["5e987ac6d2e04d95a9d8f0d1", "hunter2-from-file", DIGEST, OTHER_DIGEST];

/// Environment variables and files of the tests. Files are listed with their full path.
pub(super) struct Fixture {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, Vec<u8>>,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            variables: HashMap::from([
                ("SHOP_MASTER_SECRET", "5e987ac6d2e04d95a9d8f0d1"),
                ("OTHER_SECRET", "hunter2-from-file"),
                ("EMPTY", ""),
                ("NEWLINES", "\r\n\n"),
                ("TWO_LINES", "hunter2-from-file\nhunter2-from-file\n"),
                ("TAB", "hunter2-from-file\thunter2-from-file"),
                ("BLANKS", " 5e987ac6d2e04d95a9d8f0d1"),
                ("QUOTES", "\"5e987ac6d2e04d95a9d8f0d1\""),
                ("LINE", "SHOP_SECRET=5e987ac6d2e04d95a9d8f0d1"),
                ("TEMPLATE", "{{ shop_master_secret }}"),
                ("UNEXPANDED", "${SHOP_MASTER_SECRET}"),
                ("CHANGE_ME", "change-me"),
            ]),
            files: HashMap::from([
                ("/etc/gateway/secret", b"hunter2-from-file\r\n".to_vec()),
                ("/run/secret", b"hunter2-from-file".to_vec()),
                ("/run/blank", b"\n".to_vec()),
                ("/run/replace", b"replace-me\n".to_vec()),
                ("/run/binary", vec![0xff, 0xff]),
                ("/run/wide", vec![0xff, 0xfe, b'x', 0]),
                ("/run/marked", "\u{feff}hunter2-from-file".into()),
                ("/run/large", vec![b'x'; SECRET_FILE_BYTES_MAX + 1]),
                ("/etc/gateway/tls.crt", Vec::new()),
                ("/etc/gateway/clients-ca.crt", Vec::new()),
                ("/etc/gateway/tls.key", Vec::new()),
                ("/etc/gateway/ca.pem", Vec::new()),
            ]),
        }
    }
}

impl SecretSources for Fixture {
    fn variable(&self, name: &str) -> Result<Zeroizing<String>, SourceError> {
        self.variables.get(name).map(|text| Zeroizing::new((*text).to_owned())).ok_or(SourceError::NotSet)
    }

    fn secret_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        self.readable(path)?;
        let content = &self.files[path.to_str().expect("the tests' paths are text")];
        if content.len() > SECRET_FILE_BYTES_MAX {
            return Err(SourceError::TooLarge);
        }
        Ok(Zeroizing::new(content.clone()))
    }

    fn config_file(&self, path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        self.readable(path)?;
        let content = &self.files[path.to_str().expect("the tests' paths are text")];
        Ok(Zeroizing::new(content[..content.len().min(bytes_max + 1)].to_vec()))
    }

    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
        let pattern = glob::Pattern::new(pattern).expect("a pattern");
        let fits = |path: &&&str| pattern.matches_with(path, sources::PATTERN_OPTIONS);
        let mut paths: Vec<_> = self.files.keys().filter(fits).map(PathBuf::from).collect();
        paths.sort();
        Ok(paths)
    }

    fn readable(&self, path: &Path) -> Result<(), SourceError> {
        let known = path.to_str().is_some_and(|path| self.files.contains_key(path));
        if known { Ok(()) } else { Err(SourceError::Io(io::ErrorKind::NotFound.into())) }
    }

    fn identity_faults(&self, _: Option<&Path>, _: Option<&Path>) -> Vec<IdentityError> {
        Vec::new()
    }

    fn roots_fault(&self, _: &Path) -> Option<RootsError> {
        None
    }
}

/// Additions of a test to the smallest good configuration; each text but `top` begins with a comma.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra<'t> {
    pub(super) top: &'t str,
    pub(super) listener: &'t str,
    pub(super) tenant: &'t str,
    pub(super) tenants: &'t str,
    pub(super) caller: &'t str,
    pub(super) callers: &'t str,
}

pub(super) fn text(extra: Extra<'_>) -> String {
    let Extra { top, listener, tenant, tenants, caller, callers } = extra;
    format!(
        "listeners: [ {{ address: 127.0.0.1:8080{listener} }} ]
tenants:
  {{ shop: {{ app: {{ key: appkey, secret: {{ env: SHOP_MASTER_SECRET }} }}{tenant} }}{tenants} }}
callers:
  {{ orders: {{ tokens: [ {{ sha256: {DIGEST} }} ], tenants: [ shop ], allow: [ push ]{caller} }}{callers} }}
{top}
"
    )
}

pub(super) fn top(top: &str) -> String {
    text(Extra { top, ..Extra::default() })
}

pub(super) fn tenant(tenant: &str) -> String {
    text(Extra { tenant, ..Extra::default() })
}

pub(super) fn caller(caller: &str) -> String {
    text(Extra { caller, ..Extra::default() })
}

/// A configuration with this list of tokens for the caller.
pub(super) fn tokens(tokens: &str) -> String {
    top("").replacen(&format!("[ {{ sha256: {DIGEST} }} ]"), tokens, 1)
}

pub(super) fn read(text: &str) -> Result<Config, ConfigFaults> {
    let result = parse(text, Path::new("/etc/gateway"), &Fixture::default());
    if let Err(faults) = &result {
        let shown = faults.to_string();
        assert!(
            !shown.is_empty() && shown.lines().count() == faults.iter().count(),
            "one line a fault:\n{shown}"
        );
        for secret in SECRETS {
            assert!(!shown.contains(secret), "a secret in:\n{shown}");
        }
    }
    result
}

#[track_caller]
pub(super) fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|faults| panic!("{text}\n{faults}"))
}

/// The warnings, except those about the short keys and secrets of the tests.
pub(super) fn warnings(config: &Config) -> Vec<&str> {
    let warnings = config.warnings.iter().map(String::as_str);
    warnings.filter(|warning| !warning.contains("24 letters and digits")).collect()
}

/// The faults of a text, one per line.
#[track_caller]
pub(super) fn bad(text: &str) -> String {
    let faults = read(text).err().unwrap_or_else(|| panic!("good:\n{text}"));
    faults.iter().map(without_line).collect::<Vec<_>>().join("\n")
}

pub(super) fn without_line(fault: &ConfigFault) -> String {
    let said = fault.to_string();
    let place = fault.line().map_or_else(String::new, |line| format!(" (line {line})"));
    said.strip_suffix(&place).unwrap_or_else(|| panic!("no line in: {said}")).to_owned()
}

/// Checks that each text gives exactly this one fault, or one that begins with it if it ends with `…`.
#[track_caller]
pub(super) fn check(rows: &[(String, &str)]) {
    for (text, expected) in rows {
        let faults = bad(text);
        let fits = expected.strip_suffix('…').map_or(faults == *expected, |start| faults.starts_with(start));
        assert!(fits && faults.lines().count() == 1, "{text}\nexpected: {expected}\ngot:      {faults}");
    }
}
