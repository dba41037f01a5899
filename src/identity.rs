//! Reads and checks certificate chains, their keys, and files of trust roots. The check of a configuration and the
//! listeners use the same code, so they agree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{InconsistentKeys, RootCertStore};
use webpki::EndEntityCert;

use crate::pem::{self, PemError};
use crate::x509::Validity;

/// A certificate is reported when it expires in this many days or fewer.
const NOTICE_DAYS: u64 = 21;
/// A certificate that becomes valid within this time is accepted: clocks differ, and authorities issue certificates
/// that start at once.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);
const DAY: Duration = Duration::from_hours(24);

/// A certificate chain with its private key.
pub struct Identity {
    /// The chain, leaf first, and the key, in the form of the TLS library.
    pub key: Arc<CertifiedKey>,
    /// The first DNS name of the leaf, or else the path of its file.
    pub name: String,
    /// Validity period of the leaf; `None` if it cannot be read. Only the leaf's counts: some authorities send chains
    /// with an expired certificate on purpose, for old clients.
    pub validity: Option<Validity>,
}

/// A fault of a certificate chain or of its key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file of the chain cannot be read.
    #[error("no certificate can be read from {}", .path.display())]
    NoCertificate {
        /// Path of the chain's file.
        path: PathBuf,
        /// Reason for the failure.
        #[source]
        source: PemError,
    },
    /// The first certificate is malformed, or the TLS library does not accept it.
    #[error("the first certificate of {} cannot be used", .path.display())]
    Certificate {
        /// Path of the chain's file.
        path: PathBuf,
        /// Reason given by the TLS library.
        #[source]
        source: rustls::Error,
    },
    /// The file of the key cannot be read.
    #[error("no private key can be read from {}", .path.display())]
    NoKey {
        /// Path of the key's file.
        path: PathBuf,
        /// Reason for the failure.
        #[source]
        source: PemError,
    },
    /// The key is malformed, or the TLS library does not accept it.
    #[error("the private key of {} cannot be used", .path.display())]
    Key {
        /// Path of the key's file.
        path: PathBuf,
        /// Reason given by the TLS library.
        #[source]
        source: rustls::Error,
    },
    /// The key is not the key of the first certificate.
    #[error("the private key of {} is another one than that of the certificate", .path.display())]
    OtherKey {
        /// Path of the key's file.
        path: PathBuf,
    },
    /// The certificate has expired or is not valid yet; the text says which.
    #[error("{0}")]
    NotNow(String),
}

impl IdentityError {
    /// Whether the fault is in the key's file, not in that of the chain.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::NoKey { .. } | Self::Key { .. } | Self::OtherKey { .. })
    }
}

impl Identity {
    /// Reads both files. The error lists all faults of them; dates are not checked.
    pub fn read(certificate: &Path, private_key: &Path) -> Result<Self, Vec<IdentityError>> {
        match parts(Some(certificate), Some(private_key)) {
            (Some(identity), faults) if faults.is_empty() => Ok(identity),
            (_, faults) => Err(faults),
        }
    }

    /// The notice that operators should get about the certificate's dates at this time, if there is one.
    pub fn notice(&self, now: SystemTime) -> Option<Notice> {
        let Some(validity) = self.validity else {
            let text = format!("when the certificate of {} ends cannot be read", self.name);
            return Some(Notice { text, is_urgent: false });
        };
        notice(&self.name, validity, now)
    }
}

/// A notice about a certificate's dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Text for the log.
    pub text: String,
    /// Whether clients already refuse the certificate.
    pub is_urgent: bool,
}

fn notice(name: &str, validity: Validity, now: SystemTime) -> Option<Notice> {
    let Validity { not_before, not_after } = validity;
    let (begin, end) = (format_rfc3339_seconds(not_before), format_rfc3339_seconds(not_after));
    // `not_after` itself is still valid, so only a later time means that the certificate has expired.
    let Ok(left) = not_after.duration_since(now) else {
        let text = format!("the certificate of {name} expired at {end}: clients refuse it");
        return Some(Notice { text, is_urgent: true });
    };
    if not_before.duration_since(now).is_ok_and(|ahead| ahead > CLOCKS_DIFFER) {
        let text = format!("the certificate of {name} is not valid before {begin}: clients refuse it");
        return Some(Notice { text, is_urgent: true });
    }
    let days = left.as_secs() / DAY.as_secs();
    let text = match days {
        0 => format!("the certificate of {name} expires at {end}, in less than a day"),
        1 => format!("the certificate of {name} expires at {end}, in 1 day"),
        _ => format!("the certificate of {name} expires at {end}, in {days} days"),
    };
    (left <= DAY * u32::try_from(NOTICE_DAYS).expect("21 days fit u32"))
        .then_some(Notice { text, is_urgent: false })
}

/// All faults of a chain and a key at this time. A file that is `None` is not checked.
pub fn faults(certificate: Option<&Path>, private_key: Option<&Path>, now: SystemTime) -> Vec<IdentityError> {
    let (identity, mut faults) = parts(certificate, private_key);
    let notice = identity.and_then(|identity| identity.notice(now)).filter(|notice| notice.is_urgent);
    faults.extend(notice.map(|notice| IdentityError::NotNow(notice.text)));
    faults
}

fn parts(certificate: Option<&Path>, private_key: Option<&Path>) -> (Option<Identity>, Vec<IdentityError>) {
    let mut faults = Vec::new();
    let mut note = |fault| faults.push(fault);
    let chain = certificate.and_then(|path| read_chain(path).map_err(&mut note).ok());
    let key = private_key.and_then(|path| read_key(path).map_err(&mut note).ok());
    let (Some(chain), Some(key), Some(path), Some(key_path)) = (chain, key, certificate, private_key) else {
        return (None, faults);
    };
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        // The public half of some keys is not available, so they cannot be compared.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            note(IdentityError::OtherKey { path: key_path.to_owned() });
        }
        Err(source) => note(IdentityError::Certificate { path: path.to_owned(), source }),
    }
    let leaf = &key.cert[0];
    let (name, validity) = (first_name(leaf), Validity::of(leaf));
    let name = name.unwrap_or_else(|| path.display().to_string());
    (Some(Identity { key: Arc::new(key), name, validity }), faults)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let chain = pem::certificates(path)
        .map_err(|source| IdentityError::NoCertificate { path: path.to_owned(), source })?;
    match rustls::server::ParsedCertificate::try_from(&chain[0]) {
        Ok(_) => Ok(chain),
        Err(source) => Err(IdentityError::Certificate { path: path.to_owned(), source }),
    }
}

fn read_key(path: &Path) -> Result<Arc<dyn SigningKey>, IdentityError> {
    let key =
        pem::private_key(path).map_err(|source| IdentityError::NoKey { path: path.to_owned(), source })?;
    let provider = aws_lc_rs::default_provider();
    let loaded = provider.key_provider.load_private_key(key);
    loaded.map_err(|source| IdentityError::Key { path: path.to_owned(), source })
}

fn first_name(leaf: &CertificateDer<'_>) -> Option<String> {
    EndEntityCert::try_from(leaf).ok()?.valid_dns_names().next().map(str::to_owned)
}

/// A fault of a file of trust roots.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("no certificate can be read from {}", .path.display())]
    NoCertificate {
        /// Path of the file.
        path: PathBuf,
        /// Reason for the failure.
        #[source]
        source: PemError,
    },
    /// A certificate in it is malformed, or the TLS library does not accept it as a root.
    #[error("a certificate of {} cannot be a trust root", .path.display())]
    Unusable {
        /// Path of the file.
        path: PathBuf,
        /// Reason given by the TLS library.
        #[source]
        source: rustls::Error,
    },
}

/// Reads the trust roots of a PEM file; at least one.
pub fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let certificates = pem::certificates(path)
        .map_err(|source| RootsError::NoCertificate { path: path.to_owned(), source })?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store
            .add(certificate.clone())
            .map_err(|source| RootsError::Unusable { path: path.to_owned(), source })?;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_told_from_21_days_before_the_end_on() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let validity = Validity { not_before: start, not_after: start + 90 * DAY };
        let rows = [
            (0, None),
            (69 * 86_400 - 1, None),
            (69 * 86_400, Some(("2024-02-12T22:13:20Z, in 21 days", false))),
            (70 * 86_400 + 1, Some(("in 19 days", false))),
            (89 * 86_400, Some(("in 1 day", false))),
            (90 * 86_400, Some(("in less than a day", false))),
            (90 * 86_400 + 1, Some(("expired at 2024-02-12T22:13:20Z: clients refuse it", true))),
            (-300, None),
            (-301, Some(("is not valid before 2023-11-14T22:13:20Z: clients refuse it", true))),
        ];
        for (seconds, expected) in rows {
            let shift = Duration::from_secs(i64::unsigned_abs(seconds));
            let now = if seconds < 0 { start - shift } else { start + shift };
            let notice = notice("a.example", validity, now);
            let told = notice.as_ref().map(|notice| (notice.text.as_str(), notice.is_urgent));
            match (told, expected) {
                (None, None) => {}
                (Some((text, urgent)), Some((end, expected))) => {
                    assert!(text.starts_with("the certificate of a.example "), "{seconds}: {text}");
                    assert!(text.ends_with(end) && urgent == expected, "{seconds}: {text}");
                }
                _ => panic!("{seconds}: {told:?}"),
            }
        }
    }
}
