//! Generates certificates, and clients that trust them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};

use super::{Connection, PATIENCE};

/// A client's certificate and key.
pub(crate) type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A certificate authority and the certificates it signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// The authority's own certificate as PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for these names. Returns it with its key, as PEM.
    pub(crate) fn sign(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign_with(&CertificateParams::new(names).expect("good names"))
    }

    /// Signs a certificate with these parameters. Returns it with its key, as PEM.
    pub(crate) fn sign_with(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Signs an expired certificate for a name. Returns it with its key, as PEM.
    pub(crate) fn sign_expired(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a good name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Signs a client certificate with these parameters. Returns it with its key.
    pub(crate) fn sign_client(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (
            CertificateDer::clone(certificate.der()),
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
    }

    /// A client that trusts only this authority.
    pub(crate) fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        self.client_as(None, alpn, rustls::ALL_VERSIONS)
    }

    /// The same client with a clock that is one day slow.
    pub(crate) fn client_of_yesterday(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.client(&[]));
        config.time_provider = Arc::new(Yesterday);
        Arc::new(config)
    }

    /// A client with this certificate and these TLS versions.
    pub(crate) fn client_as(
        &self,
        identity: Option<&Identity>,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        self.client_with(&Wallet::new(identity), alpn, versions)
    }

    /// A client whose certificate can be replaced later.
    pub(crate) fn client_with(
        &self,
        wallet: &Arc<Wallet>,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(self.0.der())).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let wallet = Arc::clone(wallet);
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_cert_resolver(wallet);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

#[derive(Debug)]
struct Yesterday;

impl TimeProvider for Yesterday {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() - 86_400)))
    }
}

/// Holder of a client's current certificate, if it has one.
#[derive(Debug)]
pub(crate) struct Wallet(Mutex<Option<Arc<CertifiedKey>>>);

impl Wallet {
    pub(crate) fn new(identity: Option<&Identity>) -> Arc<Self> {
        let wallet = Self(Mutex::default());
        if let Some(identity) = identity {
            wallet.renew(identity);
        }
        Arc::new(wallet)
    }

    /// Replaces the certificate for new handshakes; older sessions can still be resumed.
    pub(crate) fn renew(&self, (leaf, key): &Identity) {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(vec![leaf.clone()], key.clone_key(), &provider);
        *self.0.lock().expect("no test panics here") = Some(Arc::new(key.expect("a certificate")));
    }
}

impl ResolvesClientCert for Wallet {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.lock().expect("no test panics here").clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A connection over TLS, with the protocol that was agreed on.
pub(crate) fn tls_connect(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> Result<Tls, std::io::Error> {
    tls_over(client, TcpStream::connect(address)?, name)
}

/// Makes a handshake on a connection that may have been used before.
pub(crate) fn tls_over(
    client: &Arc<ClientConfig>,
    mut stream: TcpStream,
    name: &str,
) -> Result<Tls, std::io::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a good name");
    let connection = ClientConnection::new(Arc::clone(client), name).expect("a client");
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut connection = connection;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let alpn = connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let leaf = connection.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    Ok(Tls { connection: Connection::over(StreamOwned::new(connection, stream)), alpn, leaf })
}

/// The result of a handshake.
pub(crate) struct Tls {
    pub(crate) connection: Connection<StreamOwned<ClientConnection, TcpStream>>,
    pub(crate) alpn: Option<String>,
    pub(crate) leaf: Option<Vec<u8>>,
}

impl Tls {
    /// Whether the session is new or resumed.
    pub(crate) fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.connection.stream().conn.handshake_kind()
    }
}

impl Connection<StreamOwned<ClientConnection, TcpStream>> {
    /// Closes the sending side with `close_notify`; answers can still be read.
    pub(crate) fn end_tls(&mut self) {
        let stream = self.stream_mut();
        stream.conn.send_close_notify();
        stream.flush().expect("the gateway reads");
        stream.sock.shutdown(std::net::Shutdown::Write).expect("an open connection");
    }
}

/// Makes one exchange over HTTP/2. Returns status, headers and body.
pub(crate) fn h2_get(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    request: http::Request<String>,
) -> http::Response<Vec<u8>> {
    use http_body_util::BodyExt as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the gateway accepts");
        let name = ServerName::try_from("localhost").expect("a good name");
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(client)).connect(name, stream).await;
        let stream = hyper_util::rt::TokioIo::new(stream.expect("a handshake"));
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, driver) =
            hyper::client::conn::http2::handshake(executor, stream).await.expect("HTTP/2");
        tokio::spawn(driver);
        let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        http::Response::from_parts(parts, body)
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await.expect("in time") })
}

/// A vendor over TLS that answers every request with `{}`.
pub(crate) fn tls_vendor(certificate: &str, key: &str) -> SocketAddr {
    tls_vendor_on(TcpListener::bind("127.0.0.1:0").expect("a port"), certificate, key)
}

/// The same on this listener.
pub(crate) fn tls_vendor_on(listener: TcpListener, certificate: &str, key: &str) -> SocketAddr {
    let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a certificate");
    let config = Arc::new(config);
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a server");
            std::thread::spawn(move || {
                let mut stream = StreamOwned::new(connection, stream);
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                    if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
