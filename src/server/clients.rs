//! Client certificates after their handshake: the time for which they identify a caller.
//!
//! Only a full handshake checks a certificate. A connection that stays open, or a session that is resumed, would keep
//! it valid without limit. So both lose it when the certificate expires, or when its authority is no longer trusted.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use tokio::sync::watch;
use webpki::EndEntityCert;

use crate::auth::ClientCertificate;
use crate::lock::lock;
use crate::x509::Validity;

/// A client certificate with more names than this identifies nobody.
const NAMES_MAX: usize = 64;
/// Sessions that are kept; the same number as the library's default.
const SESSIONS_MAX: usize = 256;
/// Interval at which the clock is checked while a certificate is valid, because the clock can be set forward.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// The state of a listener about the certificates of its clients.
#[derive(Clone)]
pub(super) struct Clients {
    /// The authorities that sign client certificates.
    roots: Arc<[CertificateDer<'static>]>,
    sessions: Arc<Sessions>,
    /// Whether the roots are still trusted.
    trust: Arc<watch::Sender<bool>>,
}

impl Clients {
    pub(super) fn signed_by(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots: roots.into(), sessions: Arc::default(), trust: Arc::new(watch::Sender::new(true)) }
    }

    /// The session store for the handshakes of the listener.
    pub(super) fn sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.sessions)
    }

    /// Replaces `previous` in a reload. Existing connections keep their certificates if all former roots are still
    /// trusted.
    #[must_use]
    pub(super) fn after(self, previous: &Self) -> Self {
        if previous.roots.iter().all(|root| self.roots.contains(root)) {
            return Self { trust: Arc::clone(&previous.trust), ..self };
        }
        previous.withdraw();
        self
    }

    /// Ends the validity of the certificates on existing connections, because their authorities are not trusted any
    /// more.
    pub(super) fn withdraw(&self) {
        self.trust.send_replace(false);
    }

    /// The certificate from a handshake, or from the one whose session it resumes. `None` if there is none, or if its
    /// names or its end cannot be read.
    pub(super) fn shown(&self, connection: &ServerConnection) -> Option<Shown> {
        let chain = connection.peer_certificates()?;
        let until = holds_until(chain, SystemTime::now())?;
        self.sessions.keep_until(until);
        let names = names(chain.first()?)?;
        Some(Shown { names, until, trust: self.trust.subscribe() })
    }
}

/// The time at which a chain that was just verified becomes invalid: the end of its leaf or of an intermediate
/// certificate. Intermediates that have expired already are ignored, because the chain was valid without them.
fn holds_until(chain: &[CertificateDer<'_>], now: SystemTime) -> Option<SystemTime> {
    // The certificate is still valid in its last second (RFC 5280, 4.1.2.5).
    let end = |certificate| Some(Validity::of(certificate)?.not_after + Duration::from_secs(1));
    let (leaf, between) = chain.split_first()?;
    let ahead = between.iter().filter_map(|certificate| end(certificate)).filter(|end| *end > now);
    ahead.chain([end(leaf)?]).min()
}

fn names(leaf: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let leaf = EndEntityCert::try_from(leaf).ok()?;
    // A URI without a colon could be mistaken for a DNS name.
    let uris = leaf.valid_uri_names().filter(|name| name.contains(':'));
    let names: Vec<_> = leaf.valid_dns_names().chain(uris).take(NAMES_MAX + 1).collect();
    (names.len() <= NAMES_MAX).then(|| ClientCertificate::new(names))
}

/// A client certificate on its connection.
pub(super) struct Shown {
    names: ClientCertificate,
    /// The first moment at which it is no longer valid.
    until: SystemTime,
    trust: watch::Receiver<bool>,
}

impl Shown {
    /// Its names while it is valid.
    pub(super) fn names(&self) -> Option<&ClientCertificate> {
        (SystemTime::now() < self.until && *self.trust.borrow()).then_some(&self.names)
    }

    /// Completes when the certificate is no longer valid. Boxed, because few connections have one.
    pub(super) fn end(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (until, mut trust) = (self.until, self.trust.clone());
        Box::pin(async move {
            while let Ok(left) = until.duration_since(SystemTime::now()) {
                let look = tokio::time::timeout(left.min(LOOK_EVERY), trust.wait_for(|trusted| !trusted));
                if look.await.is_ok() {
                    return;
                }
            }
        })
    }
}

/// Sessions that clients can resume. All of them are dropped when the first certificate among them expires; the next
/// connections then make a full handshake, which checks the client's present certificate.
#[derive(Default)]
pub(super) struct Sessions(Mutex<SessionsByClient>);

struct SessionsByClient {
    sessions: Arc<ServerSessionMemoryCache>,
    until: Option<SystemTime>,
}

impl Default for SessionsByClient {
    fn default() -> Self {
        Self { sessions: ServerSessionMemoryCache::new(SESSIONS_MAX), until: None }
    }
}

impl Sessions {
    /// Records that a session with this certificate was stored, which may be kept until `until`.
    fn keep_until(&self, until: SystemTime) {
        let mut kept = self.lock();
        kept.until = Some(kept.until.map_or(until, |known| known.min(until)));
    }

    fn kept_at(&self, now: SystemTime) -> Arc<ServerSessionMemoryCache> {
        let mut kept = self.lock();
        if kept.until.is_some_and(|until| until <= now) {
            *kept = SessionsByClient::default();
        }
        Arc::clone(&kept.sessions)
    }

    fn kept(&self) -> Arc<ServerSessionMemoryCache> {
        self.kept_at(SystemTime::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SessionsByClient> {
        lock(&self.0)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.kept().put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.kept().get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.kept().take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sessions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn certificate(not_after: u64) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new(["orders.corp".to_owned()]).expect("a good name");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(not_after);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    #[test]
    fn a_chain_holds_as_long_as_all_of_it_that_was_needed() {
        let now = at(1_000_000_000);
        let until = |ends: &[u64]| {
            let chain: Vec<_> = ends.iter().map(|end| certificate(1_000_000_000 + end)).collect();
            holds_until(&chain, now)
                .and_then(|until| until.duration_since(now).ok())
                .map(|left| left.as_secs())
        };
        assert_eq!(until(&[50]), Some(51), "its last second is one of its own");
        assert_eq!(until(&[50, 90, 20]), Some(21));
        assert_eq!(until(&[50, 0]), Some(1));
        let over = [certificate(1_000_000_050), certificate(999_999_000)];
        assert_eq!(
            holds_until(&over, now),
            Some(now + 51 * SECOND),
            "an expired intermediate was not needed"
        );
        assert_eq!(holds_until(&[certificate(5)], now), Some(at(6)), "a leaf counts in any case");
        assert_eq!(holds_until(&[], now), None);
        assert_eq!(holds_until(&[CertificateDer::from(vec![1, 2, 3])], now), None);
    }

    #[test]
    fn sessions_end_with_the_first_certificate_among_them() {
        let sessions = Sessions::default();
        let is_kept = |now| sessions.kept_at(now).get(b"key").is_some();
        let keep = || sessions.kept_at(at(0)).put(b"key".into(), b"value".into());
        keep();
        assert!(is_kept(at(1_000)), "without a certificate there is no end");
        sessions.keep_until(at(20));
        sessions.keep_until(at(10));
        sessions.keep_until(at(30));
        assert!(is_kept(at(9)) && !is_kept(at(10)));
        keep();
        assert!(is_kept(at(1_000)), "the ends of before are forgotten too");
    }

    #[test]
    fn a_certificate_holds_as_long_as_those_who_signed_it_are_trusted() {
        let roots = |ends: &[u64]| ends.iter().map(|end| certificate(*end)).collect::<Vec<_>>();
        let (one, two) = (roots(&[10]), roots(&[10, 20]));
        let both = [one.clone(), two.clone()].concat();
        let shown = |clients: &Clients, until| Shown {
            names: ClientCertificate::new(["orders.corp"]),
            until,
            trust: clients.trust.subscribe(),
        };
        let later = SystemTime::now() + Duration::from_hours(1);
        let first = Clients::signed_by(one);
        let old = shown(&first, later);
        assert!(old.names().is_some());
        assert!(shown(&first, SystemTime::now()).names().is_none(), "it has expired");
        let second = Clients::signed_by(both).after(&first);
        assert!(old.names().is_some(), "a root was added and none removed");
        let third = Clients::signed_by(two).after(&second);
        let new = shown(&third, later);
        assert!(old.names().is_none() && new.names().is_some());
        third.withdraw();
        assert!(new.names().is_none(), "no certificates are taken any more");
    }
}
