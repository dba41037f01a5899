//! Tests of expiring client certificates: a certificate is valid until its last second, and while its authority is
//! trusted. This holds on kept connections and for resumed sessions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use rcgen::CertificateParams;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind, SupportedProtocolVersion};

use crate::support::{
    Answer, Authority, Config, Folder, Gateway, Identity, PATIENCE, PUSH, Request, Stub, Tls, Tokens, Wallet,
    tls_connect,
};

/// A gateway that asks for client certificates.
struct World {
    gateway: Gateway,
    config: Config,
    servers: Authority,
    clients: Authority,
    _vendor: Stub,
}

impl World {
    fn start() -> Self {
        let (servers, clients, vendor, folder) =
            (Authority::new(), Authority::new(), Stub::good(), Folder::new());
        let (certificate, key) = servers.sign(&["localhost"]);
        folder.write("tls.crt", certificate);
        folder.write("tls.key", key);
        folder.write("clients.pem", clients.pem());
        let mut config = Config::new(&vendor.url());
        config.listeners = "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: tls.crt, \
                            private_key: tls.key } ], client_ca: clients.pem, http2: true } }"
            .into();
        config.orders = "certificates: [ orders.corp ]".into();
        Self { gateway: Gateway::start_in(folder, &config), config, servers, clients, _vendor: vendor }
    }

    /// Signs a certificate that ends after this time, and returns its last second.
    fn sign(&self, left: Duration) -> (Identity, SystemTime) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970") + left;
        let mut params = CertificateParams::new(vec!["orders.corp".to_owned()]).expect("a good name");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since;
        let over = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs() + 1);
        (self.clients.sign_client(&params), over)
    }

    fn connect(&self, client: &Arc<ClientConfig>) -> Tls {
        tls_connect(client, self.gateway.address(), "localhost").expect("a handshake")
    }

    /// Does something with a certificate that ends soon, and returns the result with the certificate's end. On a slow
    /// machine the certificate may end too early; then the work is repeated with more time.
    fn soon<T>(&self, mut work: impl FnMut(&Identity) -> Option<T>) -> (T, SystemTime) {
        for left in [2, 8, 32] {
            let (identity, over) = self.sign(Duration::from_secs(left));
            match work(&identity) {
                Some(done) if SystemTime::now() < over => return (done, over),
                Some(_) => {}
                None => assert!(SystemTime::now() >= over, "a certificate that holds was refused"),
            }
        }
        panic!("this machine is too slow");
    }

    /// Makes one call over a new connection. The error says why the handshake failed.
    fn call(&self, client: &Arc<ClientConfig>) -> Result<(Answer, Option<HandshakeKind>), String> {
        let mut tls =
            tls_connect(client, self.gateway.address(), "localhost").map_err(|error| error.to_string())?;
        let answer = tls.connection.try_send(push().bytes()).and_then(|()| tls.connection.try_read_answer());
        Ok((answer.map_err(|error| error.to_string())?, tls.handshake_kind()))
    }
}

fn push() -> Request {
    Request::post("/v3/push", PUSH)
}

fn wait_for(moment: SystemTime) {
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        std::thread::sleep(left);
    }
}

fn versions() -> [&'static SupportedProtocolVersion; 2] {
    [&TLS12, &TLS13]
}

#[test]
fn a_session_is_not_resumed_when_its_certificate_is_over() {
    let world = World::start();
    for version in versions() {
        let resume = |identity: &Identity| {
            let wallet = Wallet::new(Some(identity));
            let client = world.servers.client_with(&wallet, &[], &[version]);
            for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
                let (answer, kind) = world.call(&client).ok()?;
                assert_eq!((answer.status, kind), (200, Some(expected)), "{version:?}");
            }
            Some((wallet, client))
        };
        let ((wallet, client), over) = world.soon(resume);
        wait_for(over);
        for _ in 0..3 {
            let outcome = world.call(&client);
            assert!(outcome.is_err(), "{version:?}: {outcome:?}");
        }
        // A client that renews its certificate and keeps its sessions is served at once.
        let ((wallet, client), over) = {
            drop((wallet, client));
            world.soon(resume)
        };
        wait_for(over);
        wallet.renew(&world.sign(Duration::from_hours(1)).0);
        let (answer, kind) = world.call(&client).expect("a handshake");
        assert_eq!((answer.status, kind), (200, Some(HandshakeKind::Full)), "{version:?}");
        let (answer, kind) = world.call(&client).expect("a handshake");
        assert_eq!((answer.status, kind), (200, Some(HandshakeKind::Resumed)), "{version:?}");
    }
}

#[test]
fn a_kept_connection_ends_with_its_certificate() {
    let world = World::start();
    for version in versions() {
        let ((mut idle, mut busy, mut token), over) = world.soon(|identity| {
            let client = world.servers.client_as(Some(identity), &[], &[version]);
            let open = || {
                let mut tls = tls_connect(&client, world.gateway.address(), "localhost").ok()?;
                tls.connection.try_send(push().bytes()).ok()?;
                (tls.connection.try_read_answer().ok()?.status == 200).then_some(tls.connection)
            };
            let (idle, mut busy, mut token) = (open()?, open()?, open()?);
            // Half a head makes the connection count as busy.
            busy.try_send(&push().bytes()[..20]).ok()?;
            token.try_send(&push().bearer(Tokens::BOTH).bytes()[..20]).ok()?;
            Some((idle, busy, token))
        });
        wait_for(over);
        assert!(idle.ends(), "{version:?}: nothing more is said on an idle connection");
        busy.send(&push().bytes()[20..]);
        let answer = busy.read_answer();
        answer.assert_refused(401, "unauthenticated", 1002);
        assert!(answer.text().contains("expired"), "{}", answer.text());
        assert_eq!(answer.header("Connection"), Some("close"));
        assert!(busy.ends());
        // The token alone identifies the caller; the certificate counts no more.
        let request = push().bearer(Tokens::BOTH).header("X-JPush-Tenant", "shop").bytes();
        token.send(&request[20..]);
        let answer = token.read_answer();
        assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")), "{}", answer.text());
    }
}

#[test]
fn a_kept_connection_of_http2_ends_with_its_certificate() {
    let world = World::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let request =
        || http::Request::post("https://localhost/v3/push").body(PUSH.to_owned()).expect("a request");
    let ((mut sender, driver), over) = world.soon(|identity| {
        let client = world.servers.client_as(Some(identity), &["h2"], ALL_VERSIONS);
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(world.gateway.address()).await.ok()?;
            let name = rustls::pki_types::ServerName::try_from("localhost").expect("a good name");
            let stream = tokio_rustls::TlsConnector::from(client).connect(name, stream).await.ok()?;
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, driver) = hyper::client::conn::http2::handshake(executor, io).await.ok()?;
            let driver = tokio::spawn(driver);
            let answer = sender.send_request(request()).await.ok()?;
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.ok()?;
            Some((sender, driver))
        })
    });
    wait_for(over);
    runtime.block_on(async {
        // The request is sent at once, so it may be on its way when the gateway closes the connection.
        if let Ok(answer) = sender.send_request(request()).await {
            assert_eq!(answer.status(), 401);
            assert_eq!(answer.headers()["x-jpush-gateway-reason"], "unauthenticated");
            answer.into_body().collect().await.expect("a body");
        }
        let ended = tokio::time::timeout(PATIENCE, driver).await.expect("the gateway ends the connection");
        ended.expect("no panic").expect("in an orderly way");
    });
}

#[test]
fn a_kept_connection_ends_when_those_who_signed_are_trusted_no_more() {
    let world = World::start();
    let (identity, _) = world.sign(Duration::from_hours(1));
    let client = world.servers.client_as(Some(&identity), &[], ALL_VERSIONS);
    let mut idle = world.connect(&client).connection;
    let mut busy = world.connect(&client).connection;
    let mut plain = world.connect(&world.servers.client(&[])).connection;
    assert_eq!(idle.call(&push()).status, 200);
    let trust = |authorities: &[&Authority]| {
        let bundle: String = authorities.iter().map(|authority| authority.pem()).collect();
        world.gateway.folder.write("clients.pem", bundle);
        world.gateway.write_config(&world.config.yaml());
        let answer = world.gateway.reload();
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let others = Authority::new();
    // A second authority is added, as in a rotation; clients of the first stay trusted.
    trust(&[&others, &world.clients]);
    assert_eq!(idle.call(&push()).status, 200);
    busy.send(&push().bytes()[..20]);
    assert_eq!(plain.call(&push().bearer(Tokens::ORDERS)).status, 200);
    trust(&[&others]);
    assert!(idle.ends());
    busy.send(&push().bytes()[20..]);
    busy.read_answer().assert_refused(401, "unauthenticated", 1002);
    assert!(world.call(&client).is_err(), "and no session of before is resumed");
    assert_eq!(plain.call(&push().bearer(Tokens::ORDERS)).status, 200, "who showed none is not concerned");
}

#[test]
fn a_kept_connection_ends_when_certificates_are_taken_no_more() {
    let world = World::start();
    let (identity, _) = world.sign(Duration::from_hours(1));
    let client = world.servers.client_as(Some(&identity), &[], ALL_VERSIONS);
    let mut idle = world.connect(&client).connection;
    assert_eq!(idle.call(&push()).status, 200);
    let yaml = world.config.yaml().replace("client_ca: clients.pem, ", "");
    world.gateway.write_config(&yaml);
    let answer = world.gateway.reload();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(idle.ends());
    let (answer, _) = world.call(&client).expect("a handshake");
    answer.assert_refused(401, "unauthenticated", 1002);
}

#[test]
fn a_certificate_of_the_future_is_none() {
    let world = World::start();
    let mut params = CertificateParams::new(vec!["orders.corp".to_owned()]).expect("a good name");
    params.not_before = rcgen::date_time_ymd(2200, 1, 1);
    params.not_after = rcgen::date_time_ymd(2201, 1, 1);
    let identity = world.clients.sign_client(&params);
    let outcome = world.call(&world.servers.client_as(Some(&identity), &[], ALL_VERSIONS));
    assert!(outcome.is_err(), "{outcome:?}");
}
