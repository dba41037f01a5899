//! TLS of listeners, with certificates chosen by the server name that a client sends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::clients::Clients;
use super::handshake::HandshakeFailures;
use crate::config::{Listener, ListenerTls};
use crate::identity::{Identity, IdentityError, Notice, RootsError, read_roots};

/// The reason why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A certificate chain or its key is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authorities for client certificates are not usable.
    #[error(transparent)]
    ClientCa(#[from] RootsError),
    /// The TLS library refused the settings.
    #[error("TLS cannot be set up")]
    Settings(#[source] rustls::Error),
}

/// The TLS of one listener.
pub(super) struct CallerTls {
    /// The listener's address, for logs and metrics.
    pub(super) listener: String,
    /// The acceptor in use; a reload replaces it.
    pub(super) acceptor: ArcSwap<Acceptor>,
    /// Limits the log lines about failed handshakes.
    pub(super) failures: HandshakeFailures,
}

impl CallerTls {
    pub(super) fn new(address: SocketAddr, acceptor: Acceptor) -> Self {
        let acceptor = ArcSwap::from_pointee(acceptor);
        Self { listener: address.to_string(), acceptor, failures: HandshakeFailures::default() }
    }
}

/// The TLS settings of one configuration.
pub(super) struct Acceptor {
    pub(super) tls: TlsAcceptor,
    /// Set if clients are asked for certificates.
    pub(super) clients: Option<Clients>,
    identities: Arc<[Identity]>,
}

/// The TLS settings of all listeners of a configuration, read and ready for use.
pub struct Certificates(Vec<(SocketAddr, Option<Acceptor>)>);

impl Certificates {
    /// Reads the files of the listeners; returns all faults.
    pub fn read(listeners: &[Listener]) -> Result<Self, Vec<CertificateError>> {
        let (mut read, mut faults) = (Vec::new(), Vec::new());
        for listener in listeners {
            match listener.tls.as_ref().map(acceptor).transpose() {
                Ok(acceptor) => read.push((listener.address, acceptor)),
                Err(more) => faults.extend(more),
            }
        }
        if faults.is_empty() { Ok(Self(read)) } else { Err(faults) }
    }

    /// Notices for operators about certificates that expire soon or are not valid.
    pub fn notices(&self, now: SystemTime) -> Vec<Notice> {
        let with_tls = self.0.iter().filter_map(|(address, acceptor)| Some((address, acceptor.as_ref()?)));
        with_tls.flat_map(|(address, acceptor)| acceptor.notices(address, now)).collect()
    }

    /// The acceptors in the order of the listeners; `None` for one without TLS.
    pub(super) fn into_acceptors(self) -> impl Iterator<Item = Option<Acceptor>> {
        self.0.into_iter().map(|(_, acceptor)| acceptor)
    }
}

/// The TLS of the listeners that are being served.
pub struct Handshakes(Vec<(SocketAddr, Option<Arc<CallerTls>>)>);

/// One certificate in use.
pub struct InUse {
    /// The address of its listener.
    pub listener: String,
    /// The name of the certificate for operators.
    pub name: String,
    /// Its last valid second, in Unix time.
    pub not_after_seconds: i64,
}

impl Handshakes {
    /// The TLS of each bound listener, with the listener's address in the configuration.
    pub(super) fn of(listeners: impl Iterator<Item = (SocketAddr, Option<Arc<CallerTls>>)>) -> Self {
        Self(listeners.collect())
    }

    /// Offers these certificates to new connections, on listeners that are still configured.
    pub fn replace(&self, new: Certificates) {
        let mut new = new.0;
        for (address, in_use) in &self.0 {
            // In order, so that several listeners with port 0 keep their own certificates.
            let Some(found) = new.iter().position(|(known, _)| known == address) else { continue };
            if let (Some(in_use), (_, Some(new))) = (in_use, new.remove(found)) {
                let new = new.after(&in_use.acceptor.load());
                in_use.acceptor.store(Arc::new(new));
            }
        }
    }

    /// The certificates that new connections are offered.
    pub fn in_use(&self) -> Vec<InUse> {
        let end = |tls: &CallerTls, identity: &Identity| {
            let not_after_seconds = identity.validity?.not_after_seconds();
            Some(InUse { listener: tls.listener.clone(), name: identity.name.clone(), not_after_seconds })
        };
        let of_listener = |tls: &CallerTls| {
            let acceptor = tls.acceptor.load();
            acceptor.identities.iter().filter_map(|identity| end(tls, identity)).collect::<Vec<_>>()
        };
        self.tls().flat_map(of_listener).collect()
    }

    /// Notices for operators about certificates in use that expire soon or are not valid.
    pub fn notices(&self, now: SystemTime) -> Vec<Notice> {
        self.tls().flat_map(|tls| tls.acceptor.load().notices(&tls.listener, now)).collect()
    }

    fn tls(&self) -> impl Iterator<Item = &CallerTls> {
        self.0.iter().filter_map(|(_, tls)| tls.as_deref())
    }
}

impl Acceptor {
    fn after(mut self, previous: &Self) -> Self {
        match (self.clients.take(), &previous.clients) {
            (Some(new), Some(old)) => self.clients = Some(new.after(old)),
            (None, Some(old)) => old.withdraw(),
            (new, None) => self.clients = new,
        }
        self
    }

    fn notices(&self, listener: impl fmt::Display, now: SystemTime) -> Vec<Notice> {
        let notices = self.identities.iter().filter_map(|identity| identity.notice(now));
        let named =
            |notice: Notice| Notice { text: format!("listener {listener}: {}", notice.text), ..notice };
        notices.map(named).collect()
    }
}

/// Prepares the TLS 1.2 and 1.3 settings of a listener.
fn acceptor(tls: &ListenerTls) -> Result<Acceptor, Vec<CertificateError>> {
    let (mut identities, mut faults) = (Vec::new(), Vec::new());
    for files in &tls.certificates {
        match Identity::read(&files.certificate, &files.private_key) {
            Ok(identity) => identities.push(identity),
            Err(more) => faults.extend(more.into_iter().map(CertificateError::from)),
        }
    }
    let roots = tls.client_ca.as_deref().map(read_roots).transpose();
    match roots {
        Ok(roots) if faults.is_empty() => set_up(tls, identities.into(), roots).map_err(|fault| vec![fault]),
        roots => {
            faults.extend(roots.err().map(CertificateError::from));
            Err(faults)
        }
    }
}

fn set_up(
    tls: &ListenerTls,
    identities: Arc<[Identity]>,
    roots: Option<Vec<CertificateDer<'static>>>,
) -> Result<Acceptor, CertificateError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match &roots {
        Some(roots) => client_verifier(roots, &provider),
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let clients = roots.map(Clients::signed_by);
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Settings)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ByName(Arc::clone(&identities))));
    config.alpn_protocols =
        if tls.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    if let Some(clients) = &clients {
        config.session_storage = clients.sessions();
    }
    Ok(Acceptor { tls: TlsAcceptor::from(Arc::new(config)), clients, identities })
}

/// Accepts clients without a certificate, and those with a valid client certificate signed by one of `signers`.
fn client_verifier(
    signers: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(signers.iter().cloned());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    verifier.allow_unauthenticated().build().expect("there are roots and no revocation lists")
}

/// Resolves to the first certificate that is valid for the client's server name, or to the first one if there is none.
struct ByName(Arc<[Identity]>);

fn is_valid_for(identity: &Identity, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(&identity.key.cert[0])
        .is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.0.iter().find(|identity| is_valid_for(identity, &name)));
        named.or(self.0.first()).map(|identity| Arc::clone(&identity.key))
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}
