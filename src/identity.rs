//! What a listener shows to its clients, a certificate chain with its key, and whom else it trusts: read from their
//! files and judged, so that whoever reads the configuration and whoever serves it come to the same word.

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

/// From so many days before its end on, a certificate is told of.
const NOTICE_DAYS: u64 = 21;
/// A certificate that begins within this time is good: clocks differ, and authorities issue in a hurry.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);
const DAY: Duration = Duration::from_hours(24);

/// A chain with its key.
pub struct Identity {
    /// As the TLS library takes it; the leaf comes first.
    pub key: Arc<CertifiedKey>,
    /// The first DNS name of the leaf, else the path of its file.
    pub name: String,
    /// When the leaf holds; `None` if that cannot be read. Chains are sent with certificates that are over, on purpose.
    pub validity: Option<Validity>,
}

/// What is wrong with a chain or its key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain cannot be read.
    #[error("no certificate can be read from {}", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// The leaf is no certificate, or none that the library takes.
    #[error("the first certificate of {} cannot be used", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The key cannot be read.
    #[error("no private key can be read from {}", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// The key is none, or none that the library takes.
    #[error("the private key of {} cannot be used", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// They do not belong together.
    #[error("the private key of {} is another one than that of the certificate", .path.display())]
    OtherKey {
        /// The key's file.
        path: PathBuf,
    },
    /// Clients would refuse it now.
    #[error("{0}")]
    NotNow(String),
}

impl IdentityError {
    /// Whether it is the key's file that is to be looked at.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::NoKey { .. } | Self::Key { .. } | Self::OtherKey { .. })
    }
}

impl Identity {
    /// Reads both files; everything that is wrong with them but their dates.
    pub fn read(certificate: &Path, private_key: &Path) -> Result<Self, Vec<IdentityError>> {
        match parts(Some(certificate), Some(private_key)) {
            (Some(identity), faults) if faults.is_empty() => Ok(identity),
            (_, faults) => Err(faults),
        }
    }

    /// What operators have to know about its dates now.
    pub fn notice(&self, now: SystemTime) -> Option<Notice> {
        let Some(validity) = self.validity else {
            let text = format!("when the certificate of {} ends cannot be read", self.name);
            return Some(Notice { text, is_urgent: false });
        };
        notice(&self.name, validity, now)
    }
}

/// What is to be told of a certificate's dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// In plain words.
    pub text: String,
    /// Clients refuse it already.
    pub is_urgent: bool,
}

fn notice(name: &str, validity: Validity, now: SystemTime) -> Option<Notice> {
    let Validity { not_before, not_after } = validity;
    let (begin, end) = (format_rfc3339_seconds(not_before), format_rfc3339_seconds(not_after));
    // The last second is one of those in which it holds.
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
    (left <= DAY * u32::try_from(NOTICE_DAYS).expect("few")).then_some(Notice { text, is_urgent: false })
}

/// Everything that is wrong with a chain and a key at this time, as far as there are files to look into.
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
        // Some keys do not tell.
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

/// What is wrong with a file of those who sign for others.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It cannot be read.
    #[error("no certificate can be read from {}", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// One of them is no certificate, or none that the library takes.
    #[error("a certificate of {} cannot be a trust root", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Reads certificates to be trusted; at least one.
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
