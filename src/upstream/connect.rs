//! Opening connections to the vendor: DNS, TCP, the tunnel through a proxy, and TLS.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use rustls::pki_types::{InvalidDnsNameError, ServerName, TrustAnchor};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::circuit::{Circuit, CircuitState};
use super::connect_error::ConnectorError;
use super::connection::UpstreamConnection;
use super::dial::{self, dial};
use super::proxy::{ProxyError, Tunnel};
use super::socket::{Socket, UpstreamStream};
use crate::config::{BaseUrl, Proxy};
use crate::pem::{self, PemError};
use crate::tenant::OriginId;
use crate::x509::Validity;

/// Opens connections to the configured base URLs and nowhere else.
pub struct Connector {
    origins: Vec<UpstreamOrigin>,
    tls: Option<UpstreamTls>,
    timeout: Duration,
}

/// The TLS settings towards the vendor, and the trusted authorities.
struct UpstreamTls {
    connector: TlsConnector,
    roots: Vec<TrustAnchor<'static>>,
}

/// A base URL and the state that its connections share.
pub struct UpstreamOrigin {
    url: BaseUrl,
    /// The proxy that its connections go through, if any.
    tunnel: Option<Tunnel>,
    server_name: ServerName<'static>,
    /// The `Host` header of its requests.
    pub host: HeaderValue,
    /// Kept over reloads that keep the base URL.
    pub(super) circuit: Arc<Circuit>,
    /// Kept in the same way.
    addresses: Arc<dial::FailedAddresses>,
    /// Kept in the same way.
    shown_certificate: Arc<ShownCertificate>,
}

/// The reason why the connector cannot be set up at all, found at the start.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The file of extra trust roots cannot be read.
    #[error("vendor.ca: no certificate can be read from this file")]
    Ca(#[source] PemError),
    /// An extra trust root is not usable.
    #[error("vendor.ca: a certificate in this file cannot be a trust root")]
    Root(#[source] rustls::Error),
    /// A host is neither a DNS name nor an address.
    #[error("a vendor host name is not valid for TLS")]
    Name(#[source] InvalidDnsNameError),
    /// The TLS library refused the settings.
    #[error("TLS cannot be set up")]
    Settings(#[source] rustls::Error),
}

impl Connector {
    /// Prepares connections to these base URLs, through the proxy except for those on loopback. Trust roots are read
    /// only if one of the URLs uses TLS.
    pub fn new(
        urls: &[BaseUrl],
        extra_roots: Option<&Path>,
        proxy: Option<&Proxy>,
        timeout: Duration,
    ) -> Result<Self, TlsSetupError> {
        let origins =
            urls.iter().map(|url| UpstreamOrigin::new(url, proxy)).collect::<Result<Vec<_>, _>>()?;
        let tls = if urls.iter().any(|url| url.tls) { Some(tls(extra_roots)?) } else { None };
        Ok(Self { origins, tls, timeout })
    }

    /// The base URLs, in the order of their [`OriginId`]s.
    pub fn origins(&self) -> &[UpstreamOrigin] {
        &self.origins
    }

    /// The state of every host's circuit, with the port where it is not the default one.
    pub fn circuit_states(&self) -> impl Iterator<Item = (String, CircuitState)> + '_ {
        self.origins.iter().map(|origin| (origin.url.authority(), origin.circuit.state()))
    }

    /// Takes over the circuits and failed addresses of the connector that this one replaces.
    #[must_use]
    pub fn after(mut self, previous: Option<&Self>) -> Self {
        let known: Vec<_> = self
            .origins
            .iter()
            .map(|origin| {
                let previous = previous?;
                let known = &previous.origins[self.same_origin(origin, previous)?.0];
                let UpstreamOrigin { circuit, addresses, shown_certificate, .. } = known;
                Some((Arc::clone(circuit), Arc::clone(addresses), Arc::clone(shown_certificate)))
            })
            .collect();
        for (origin, known) in self.origins.iter_mut().zip(known) {
            if let Some(known) = known {
                (origin.circuit, origin.addresses, origin.shown_certificate) = known;
            }
        }
        self
    }

    /// The base URL of `other` whose open connections this connector can use as well.
    pub(super) fn same_origin(&self, origin: &UpstreamOrigin, other: &Self) -> Option<OriginId> {
        let is_same = |known: &UpstreamOrigin| known.url == origin.url && known.tunnel == origin.tunnel;
        let known = other.origins.iter().position(is_same)?;
        (!origin.url.tls || self.roots() == other.roots()).then_some(OriginId(known))
    }

    fn roots(&self) -> Option<&[TrustAnchor<'static>]> {
        self.tls.as_ref().map(|tls| &*tls.roots)
    }

    /// The time limit for DNS, TCP, the proxy and TLS together.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Opens a connection to a base URL, without a limit of time.
    pub(super) async fn connect(&self, origin: OriginId) -> Result<UpstreamConnection, ConnectorError> {
        let origin = &self.origins[origin.0];
        let (stream, trial) = match &origin.tunnel {
            None => dial(&origin.url, &origin.addresses, self.timeout).await?,
            Some(tunnel) => {
                let dialled = dial(tunnel.url(), &origin.addresses, self.timeout).await;
                let (mut stream, trial) = dialled.map_err(of_proxy)?;
                tunnel.open(&mut stream, &origin.url.host_and_port()).await?;
                (stream, trial)
            }
        };
        let socket = Socket::new(stream);
        let address = socket.address();
        let stream = match &self.tls {
            Some(tls) if origin.url.tls => {
                let stream = tls.connector.connect(origin.server_name.clone(), socket).await;
                let stream = stream.map_err(|source| ConnectorError::Tls { address, source })?;
                origin.shown_certificate.note(&stream);
                UpstreamStream::Tls(Box::new(stream))
            }
            _ => UpstreamStream::Plain(socket),
        };
        trial.passed();
        Ok(UpstreamConnection::new(stream, Instant::now()))
    }
}

/// The certificate that the host showed last.
#[derive(Default)]
struct ShownCertificate {
    /// Its last second since 1970; zero: none was seen.
    end_seconds: AtomicI64,
}

impl ShownCertificate {
    fn note(&self, stream: &TlsStream<Socket>) {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if let Some(validity) = shown.and_then(|certificate| Validity::of(certificate)) {
            self.end_seconds.store(validity.not_after_seconds(), Ordering::Relaxed);
        }
    }
}

impl UpstreamOrigin {
    /// The last second of the certificate that the host showed at the last new connection, in seconds since 1970;
    /// `None` before there was one, and without TLS.
    pub fn certificate_end_seconds(&self) -> Option<i64> {
        Some(self.shown_certificate.end_seconds.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }

    fn new(url: &BaseUrl, proxy: Option<&Proxy>) -> Result<Self, TlsSetupError> {
        let server_name = ServerName::try_from(url.host.clone()).map_err(TlsSetupError::Name)?;
        let host = HeaderValue::from_str(&url.authority()).expect("a checked base URL is visible ASCII");
        let circuit = Arc::new(Circuit::new(url.authority()));
        // The proxy's own loopback is not that of this machine, so loopback URLs are reached directly.
        let tunnel = proxy.filter(|_| !url.is_loopback()).map(Tunnel::through);
        Ok(Self {
            url: url.clone(),
            tunnel,
            server_name,
            host,
            circuit,
            addresses: Arc::default(),
            shown_certificate: Arc::default(),
        })
    }
}

/// Converts an error of connecting to the proxy.
fn of_proxy(error: ConnectorError) -> ConnectorError {
    match error {
        ConnectorError::Resolve(error) | ConnectorError::Connect(error) => {
            ProxyError::Unreachable(error).into()
        }
        other @ (ConnectorError::Proxy(_) | ConnectorError::Tls { .. } | ConnectorError::TimedOut) => other,
    }
}

fn tls(extra_roots: Option<&Path>) -> Result<UpstreamTls, TlsSetupError> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = extra_roots {
        for certificate in pem::certificates(path).map_err(TlsSetupError::Ca)? {
            roots.add(certificate).map_err(TlsSetupError::Root)?;
        }
    }
    let trusted = roots.roots.clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsSetupError::Settings)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(UpstreamTls { connector: TlsConnector::from(Arc::new(config)), roots: trusted })
}
