//! TLS of a listener: certificates chosen by the name a client asks for.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::{CertificateFiles, ListenerTls};

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
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// The key cannot be read.
    #[error("no private key can be read from {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
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

/// Prepares the handshakes of a listener: TLS 1.2 and 1.3.
pub(super) fn acceptor(tls: &ListenerTls) -> Result<TlsAcceptor, CertificateError> {
    let certificates = tls.certificates.iter().map(Certificate::load).collect::<Result<Vec<_>, _>>()?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Settings)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(certificates)));
    config.alpn_protocols =
        if tls.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(TlsAcceptor::from(Arc::new(config)))
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
        let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect)
            .map_err(|source| CertificateError::Chain { path: path(), source: Some(source) })?;
        let leaf =
            chain.first().cloned().ok_or_else(|| CertificateError::Chain { path: path(), source: None })?;
        let key = PrivateKeyDer::from_pem_file(&files.private_key)
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
