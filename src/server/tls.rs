//! TLS of a listener: certificates chosen by the name a client asks for.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::Listeners;
use super::clients::Clients;
use crate::config::{CertificateFiles, Listener, ListenerTls};
use crate::pem::{self, PemError};

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain cannot be read.
    #[error("no certificate can be read from {path}")]
    Chain {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// The key cannot be read.
    #[error("no private key can be read from {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// Those who sign client certificates cannot be read.
    #[error("no certificate can be read from {path}")]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PemError,
    },
    /// They cannot be used.
    #[error("the certificates of {path} cannot be trust roots for clients")]
    ClientRoots {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// They do not fit, or the library does not take them.
    #[error("the certificate of {path} cannot be used with its key")]
    Unusable {
        /// The chain's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up")]
    Settings(#[source] rustls::Error),
}

/// How a listener shakes hands; a reload puts another in its place.
pub(super) type Tls = ArcSwap<Acceptor>;

/// Handshakes as one configuration has them.
pub(super) struct Acceptor {
    pub(super) tls: TlsAcceptor,
    /// If clients are asked for certificates.
    pub(super) clients: Option<Clients>,
}

/// TLS of a configuration's listeners, read and ready to be used.
pub struct Certificates(Vec<(SocketAddr, Option<Acceptor>)>);

impl Certificates {
    /// Reads what the listeners name; the first fault of each.
    pub fn read(listeners: &[Listener]) -> Result<Self, Vec<CertificateError>> {
        let read = |listener: &Listener| {
            let tls = listener.tls.as_ref().map(acceptor).transpose()?;
            Ok((listener.address, tls))
        };
        let (good, bad): (Vec<_>, Vec<_>) = listeners.iter().map(read).partition(Result::is_ok);
        let faults: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
        if faults.is_empty() { Ok(Self(good.into_iter().flatten().collect())) } else { Err(faults) }
    }
}

/// TLS of the listeners that are being served.
pub struct Handshakes(Vec<(SocketAddr, Option<Arc<Tls>>)>);

impl Handshakes {
    /// TLS of listeners as configured and bound.
    pub fn of(configured: &[Listener], bound: &Listeners) -> Self {
        let pairs = configured.iter().zip(bound.tls());
        Self(pairs.map(|(listener, tls)| (listener.address, tls.cloned())).collect())
    }

    /// From now on new connections are offered these certificates, where a listener is still the same.
    pub fn replace(&self, new: Certificates) {
        let mut new = new.0;
        for (address, in_use) in &self.0 {
            // In order, so that listeners whose port the system chose do not get each other's.
            let Some(found) = new.iter().position(|(known, _)| known == address) else { continue };
            if let (Some(in_use), (_, Some(new))) = (in_use, new.remove(found)) {
                let new = new.after(&in_use.load());
                in_use.store(Arc::new(new));
            }
        }
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
}

/// Prepares the handshakes of a listener: TLS 1.2 and 1.3.
pub(super) fn acceptor(tls: &ListenerTls) -> Result<Acceptor, CertificateError> {
    let certificates = tls.certificates.iter().map(Certificate::load).collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (verifier, clients) = match &tls.client_ca {
        Some(path) => {
            let (verifier, clients) = client_verifier(path, &provider)?;
            (verifier, Some(clients))
        }
        None => (WebPkiClientVerifier::no_client_auth(), None),
    };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Settings)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ByName(certificates)));
    config.alpn_protocols =
        if tls.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    if let Some(clients) = &clients {
        config.session_storage = clients.sessions();
    }
    Ok(Acceptor { tls: TlsAcceptor::from(Arc::new(config)), clients })
}

/// Takes clients without a certificate and those with one that these signed, for clients, and that holds now.
fn client_verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Clients), CertificateError> {
    let unreadable = |source| CertificateError::ClientCa { path: path.to_owned(), source };
    let certificates = pem::certificates(path).map_err(unreadable)?;
    let unusable = |source| CertificateError::ClientRoots { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(unusable)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = verifier.allow_unauthenticated().build().expect("there are roots and no revocation lists");
    Ok((verifier, Clients::signed_by(certificates)))
}

/// The first certificate that is valid for the name; the first of all for clients that name none, or another.
struct ByName(Vec<Certificate>);

struct Certificate {
    key: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
}

impl Certificate {
    fn load(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let path = || files.certificate.clone();
        let chain = pem::certificates(&files.certificate)
            .map_err(|source| CertificateError::Chain { path: path(), source })?;
        let leaf = chain[0].clone();
        let key = pem::private_key(&files.private_key)
            .map_err(|source| CertificateError::Key { path: files.private_key.clone(), source })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|source| CertificateError::Unusable { path: path(), source })?;
        Ok(Self { key: Arc::new(key), leaf })
    }

    fn is_valid_for(&self, name: &ServerName<'_>) -> bool {
        ParsedCertificate::try_from(&self.leaf).is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.0.iter().find(|certificate| certificate.is_valid_for(&name)));
        named.or(self.0.first()).map(|certificate| Arc::clone(&certificate.key))
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}
