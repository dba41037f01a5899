//! Opening connections to the vendor: DNS, TCP, TLS and HTTP/1.1.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, TrustAnchor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Connection;
use super::circuit::{Circuit, Standing};
use crate::config::BaseUrl;
use crate::tenant::OriginId;

/// Longest head of an answer, in bytes.
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Opens connections to the configured base URLs and nowhere else.
pub struct Connector {
    origins: Vec<Origin>,
    tls: Option<Tls>,
    timeout: Duration,
}

/// TLS to the vendor, and whom it trusts.
struct Tls {
    connector: TlsConnector,
    roots: Vec<TrustAnchor<'static>>,
}

/// A base URL with what every connection to it needs.
pub struct Origin {
    url: BaseUrl,
    server_name: ServerName<'static>,
    /// The `Host` header of its requests.
    pub host: HeaderValue,
    /// Shared with the same base URL of the configuration before.
    pub(super) circuit: Arc<Circuit>,
}

/// Why there is no connection. No byte of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The name has no address.
    #[error("the host name does not resolve")]
    Resolve(#[source] io::Error),
    /// TCP.
    #[error("the connection was refused or failed")]
    Connect(#[source] io::Error),
    /// TLS.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// HTTP.
    #[error("the connection failed before it could be used")]
    Handshake(#[source] hyper::Error),
    /// `connect_timeout`, or the call's deadline before it.
    #[error("no connection in time")]
    TimedOut,
}

impl ConnectorError {
    /// Word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "resolve",
            Self::Connect(_) | Self::Handshake(_) => "connect",
            Self::Tls(_) => "tls",
            Self::TimedOut => "connect-timeout",
        }
    }
}

/// Why connections cannot be opened at all, found at start.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The extra trust roots cannot be read.
    #[error("vendor.ca: no certificate can be read from this file")]
    Ca(#[source] rustls::pki_types::pem::Error),
    /// An extra trust root is no usable certificate.
    #[error("vendor.ca: a certificate in this file cannot be a trust root")]
    Root(#[source] rustls::Error),
    /// A host is neither a DNS name nor an address.
    #[error("a vendor host name is not valid for TLS")]
    Name(#[source] InvalidDnsNameError),
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up")]
    Settings(#[source] rustls::Error),
}

impl Connector {
    /// Prepares connections to these base URLs. Trust roots are read only if one of them speaks TLS.
    pub fn new(
        urls: &[BaseUrl],
        extra_roots: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, TlsSetupError> {
        let origins = urls.iter().map(Origin::new).collect::<Result<Vec<_>, _>>()?;
        let tls = if urls.iter().any(|url| url.tls) { Some(tls(extra_roots)?) } else { None };
        Ok(Self { origins, tls, timeout })
    }

    /// Where connections can go.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The hosts, with their ports where these are not the usual ones, and how it stands with their circuits.
    pub fn standings(&self) -> impl Iterator<Item = (String, Standing)> + '_ {
        self.origins.iter().map(|origin| (origin.url.authority(), origin.circuit.standing()))
    }

    /// The connector after another one: hosts that are down are not forgotten.
    #[must_use]
    pub fn after(mut self, previous: Option<&Self>) -> Self {
        let circuits: Vec<_> = self
            .origins
            .iter()
            .map(|origin| {
                let known =
                    previous.and_then(|previous| Some((previous, self.same_origin(origin, previous)?)));
                known.map(|(previous, known)| Arc::clone(&previous.origins[known.0].circuit))
            })
            .collect();
        for (origin, circuit) in self.origins.iter_mut().zip(circuits) {
            origin.circuit = circuit.unwrap_or_else(|| Arc::clone(&origin.circuit));
        }
        self
    }

    /// The base URL of another connector whose open connections are as good as new ones of this one.
    pub(super) fn same_origin(&self, origin: &Origin, other: &Self) -> Option<OriginId> {
        let known = other.origins.iter().position(|known| known.url == origin.url)?;
        (!origin.url.tls || self.roots() == other.roots()).then_some(OriginId(known))
    }

    fn roots(&self) -> Option<&[TrustAnchor<'static>]> {
        self.tls.as_ref().map(|tls| &*tls.roots)
    }

    /// For DNS, TCP and TLS together.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Opens a connection. Its driver runs on the current runtime.
    pub(super) async fn connect(&self, origin: OriginId) -> Result<Connection, ConnectorError> {
        let origin = &self.origins[origin.0];
        let stream = dial(&origin.url).await?;
        let reset = Arc::new(AtomicBool::new(false));
        let stream = Resettable { stream, reset: Arc::clone(&reset) };
        match &self.tls {
            Some(tls) if origin.url.tls => {
                let stream = tls
                    .connector
                    .connect(origin.server_name.clone(), stream)
                    .await
                    .map_err(ConnectorError::Tls)?;
                open(stream, reset).await
            }
            _ => open(stream, reset).await,
        }
    }
}

impl Origin {
    fn new(url: &BaseUrl) -> Result<Self, TlsSetupError> {
        let server_name = ServerName::try_from(url.host.clone()).map_err(TlsSetupError::Name)?;
        let host = HeaderValue::from_str(&url.authority()).expect("a checked base URL is visible ASCII");
        let circuit = Arc::new(Circuit::new(url.authority()));
        Ok(Self { url: url.clone(), server_name, host, circuit })
    }
}

async fn dial(url: &BaseUrl) -> Result<TcpStream, ConnectorError> {
    let addresses =
        tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(ConnectorError::Resolve)?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(ConnectorError::Connect)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(ConnectorError::Connect(failure))
}

async fn open<S>(stream: S, reset: Arc<AtomicBool>) -> Result<Connection, ConnectorError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::Builder::new()
        .title_case_headers(true)
        .max_header_size(ANSWER_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(ConnectorError::Handshake)?;
    let driver = tokio::spawn(async move {
        // How a connection ended is told to the call on it; without one it is nobody's business.
        let _ = driver.await;
    });
    Ok(Connection { sender, driver: driver.abort_handle(), reset })
}

fn tls(extra_roots: Option<&Path>) -> Result<Tls, TlsSetupError> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = extra_roots {
        for certificate in CertificateDer::pem_file_iter(path).map_err(TlsSetupError::Ca)? {
            roots.add(certificate.map_err(TlsSetupError::Ca)?).map_err(TlsSetupError::Root)?;
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
    Ok(Tls { connector: TlsConnector::from(Arc::new(config)), roots: trusted })
}

/// A TCP stream that is reset instead of closed when told so: what the kernel still holds of a call that was given
/// up must not reach the vendor later.
struct Resettable {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
