//! Tests of callers that authenticate by client certificate: which certificates are accepted, and whose they are.

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, HandshakeKind};

use crate::support::{
    Answer, Authority, Config, Folder, Gateway, Identity, Keys, PUSH, Request, Stub, Tokens, h2_get,
    sha256_hex, tls_connect,
};

/// A gateway that asks for client certificates, with the two authorities.
struct World {
    gateway: Gateway,
    config: Config,
    /// Signs the gateway's certificate.
    servers: Authority,
    /// Signs client certificates.
    clients: Authority,
    vendor: Stub,
}

impl World {
    fn start(http2: bool) -> Self {
        let (servers, clients, vendor, folder) =
            (Authority::new(), Authority::new(), Stub::good(), Folder::new());
        let (certificate, key) = servers.sign(&["localhost"]);
        folder.write("tls.crt", certificate);
        folder.write("tls.key", key);
        folder.write("clients.pem", clients.pem());
        let mut config = Config::new(&vendor.url());
        config.listeners = format!(
            "{{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ certificate: tls.crt, private_key: tls.key }} ], \
             client_ca: clients.pem, http2: {http2} }} }}"
        );
        config.orders = r#"certificates: [ "spiffe://corp/orders", "orders.corp" ]"#.into();
        let gateway = Gateway::start_in(folder, &config);
        Self { gateway, config, servers, clients, vendor }
    }

    fn yaml(&self) -> String {
        let more = format!(
            "  news: {{ certificates: [ news.corp ], tenants: [ shop, market ], allow: [ push ] }}\n\
             \x20 guest: {{ tokens: [ {{ sha256: {} }} ], tenants: [ shop ], allow: [ push ] }}\n",
            sha256_hex(b"guestTokenForTests202611")
        );
        [self.config.yaml(), more].concat()
    }

    /// Adds the callers `news`, which has a certificate only, and `guest`, which has a token only.
    fn with_more_callers(self) -> Self {
        self.gateway.write_config(&self.yaml());
        let answer = self.gateway.reload();
        assert_eq!(answer.status, 200, "{}", answer.text());
        self
    }

    /// Makes one call over a connection with this certificate. The error says why the handshake failed.
    fn call(&self, identity: Option<&Identity>, request: &Request) -> Result<Answer, String> {
        let client = self.servers.client_as(identity, &[], ALL_VERSIONS);
        let mut tls = tls_connect(&client, self.gateway.address(), "localhost").map_err(|e| e.to_string())?;
        // In TLS 1.3, a client's certificate is refused only after the client has finished its part of the handshake.
        let answer = tls.connection.try_send(request.bytes()).and_then(|()| tls.connection.try_read_answer());
        answer.map_err(|error| error.to_string())
    }

    fn sign(&self, names: &[SanType]) -> Identity {
        self.clients.sign_client(&with_names(names))
    }
}

fn with_names(names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    params
}

fn uri(name: &str) -> SanType {
    SanType::URI(Ia5String::try_from(name).expect("ASCII"))
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(name).expect("ASCII"))
}

fn push() -> Request {
    Request::post("/v3/push", PUSH)
}

#[test]
fn a_listed_name_says_who_calls() {
    let world = World::start(false).with_more_callers();
    let orders = [
        vec![uri("spiffe://corp/orders")],
        vec![dns("orders.corp")],
        vec![dns("orders.corp"), uri("spiffe://corp/orders"), dns("somebody.else"), uri("urn:x")],
    ];
    for names in orders {
        let request = push().header("X-Request-Id", "by-certificate");
        let answer = world.call(Some(&world.sign(&names)), &request).expect("a handshake");
        assert_eq!(answer.status, 200, "{names:?}: {}", answer.text());
    }
    assert_eq!(world.gateway.line("by-certificate")["caller"], "orders");
    let status = &world.gateway.status()["callers"]["orders"]["certificates"];
    assert!(status["spiffe://corp/orders"]["last_use"].is_string(), "{status}");
    // The caller's credential is not sent on; the vendor's is.
    let received = world.vendor.requests().pop().expect("a call");
    let expected = crate::support::basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET);
    assert_eq!(received.header("Authorization"), Some(&*expected));
    // The tenant is selected as for Bearer.
    let news = world.sign(&[dns("news.corp")]);
    let call = |request: Request| world.call(Some(&news), &request).expect("a handshake");
    call(push()).assert_refused(400, "tenant-required", 1002);
    assert_eq!(call(push().header("X-JPush-Tenant", "market")).status, 200);
    call(Request::get("/v3/tags").header("X-JPush-Tenant", "shop")).assert_refused(403, "forbidden", 2007);
}

#[test]
fn other_names_say_nothing() {
    let world = World::start(false).with_more_callers();
    let mut common = CertificateParams::default();
    common.distinguished_name.push(DnType::CommonName, "orders.corp");
    let mut identities = vec![None, Some(world.clients.sign_client(&common))];
    let names = [
        dns("x.orders.corp"),
        dns("*.corp"),
        dns("ORDERS.CORP"),
        uri("spiffe://corp/orders/"),
        uri("SPIFFE://corp/orders"),
        // The name stands in a field of the wrong kind.
        uri("orders.corp"),
        SanType::Rfc822Name(Ia5String::try_from("orders.corp").expect("ASCII")),
    ];
    identities.extend(names.map(|name| Some(world.sign(&[name]))));
    let many: Vec<_> = (0..64).map(|number| dns(&format!("n{number}.corp"))).collect();
    identities.push(Some(world.sign(&[many, vec![dns("orders.corp")]].concat())));
    for (row, identity) in identities.iter().enumerate() {
        let answer = world.call(identity.as_ref(), &push()).expect("a handshake");
        answer.assert_refused(401, "unauthenticated", 1002);
        let answer = world.call(identity.as_ref(), &push().bearer(Tokens::PUSHER)).expect("a handshake");
        assert_eq!(answer.status, 200, "row {row}: a token alone is enough");
    }
}

#[test]
fn a_token_decides_and_a_certificate_of_another_caller_is_refused() {
    let world = World::start(false).with_more_callers();
    let orders = world.sign(&[uri("spiffe://corp/orders")]);
    let both = world.sign(&[dns("orders.corp"), dns("news.corp")]);
    let call = |identity, request: Request| world.call(Some(identity), &request).expect("a handshake");
    assert_eq!(call(&orders, push().bearer(Tokens::ORDERS)).status, 200);
    assert_eq!(call(&orders, push().basic(Keys::SHOP_APP, Tokens::ORDERS)).status, 200);
    let refused = |answer: Answer, code| {
        answer.assert_refused(401, "unauthenticated", code);
        assert!(answer.has("Www-Authenticate"));
    };
    refused(call(&orders, push().bearer(Tokens::PUSHER)), 1004);
    refused(call(&orders, push().bearer("guestTokenForTests202611")), 1004);
    // A good certificate does not make up for a bad header.
    refused(call(&orders, push().bearer("wrong")), 1004);
    refused(call(&orders, push().header("Authorization", "Digest x")), 1002);
    // A certificate with names of two callers identifies none.
    refused(call(&both, push()), 1004);
    refused(call(&both, push().bearer(Tokens::ORDERS)), 1004);
    assert_eq!(world.vendor.requests().len(), 2);
}

#[test]
fn a_certificate_that_is_not_good_ends_the_handshake() {
    let world = World::start(false);
    let name = [uri("spiffe://corp/orders")];
    let expired = {
        let mut params = with_names(&name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        world.clients.sign_client(&params)
    };
    let for_servers = {
        let mut params = with_names(&name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        world.clients.sign_client(&params)
    };
    let rows = [
        ("of a stranger", Authority::new().sign_client(&with_names(&name))),
        ("of those who sign for servers", world.servers.sign_client(&with_names(&name))),
        ("expired", expired),
        ("for servers", for_servers),
    ];
    for (what, identity) in rows {
        let outcome = world.call(Some(&identity), &push().bearer(Tokens::ORDERS));
        assert!(outcome.is_err(), "{what}: {outcome:?}");
    }
    assert!(world.vendor.requests().is_empty());
    let for_clients = {
        let mut params = with_names(&name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        world.clients.sign_client(&params)
    };
    assert_eq!(world.call(Some(&for_clients), &push()).expect("a handshake").status, 200);
}

/// A resumed session belongs to the same client and to nobody else. TLS 1.2 and 1.3 resume in different ways.
#[test]
fn a_session_resumes_with_its_certificate() {
    let world = World::start(false);
    let identity = world.sign(&[uri("spiffe://corp/orders")]);
    for version in [&TLS12, &TLS13] {
        let known = world.servers.client_as(Some(&identity), &[], &[version]);
        let unknown = world.servers.client_as(None, &[], &[version]);
        for round in 0..3 {
            for (client, status) in [(&known, 200), (&unknown, 401)] {
                let mut tls = tls_connect(client, world.gateway.address(), "localhost").expect("a handshake");
                assert_eq!(tls.connection.call(&push()).status, status, "{version:?} {round}");
                // The certificate holds for all requests on a connection.
                assert_eq!(tls.connection.call(&push()).status, status, "{version:?} {round}");
                let expected = if round == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
                assert_eq!(tls.handshake_kind(), Some(expected), "{version:?} {round}");
            }
        }
    }
}

#[test]
fn http2_carries_it_too() {
    let world = World::start(true);
    let identity = world.sign(&[dns("orders.corp")]);
    for (identity, status) in [(Some(&identity), 200), (None, 401)] {
        let client = world.servers.client_as(identity, &["h2"], ALL_VERSIONS);
        let request =
            http::Request::post("https://localhost/v3/push").body(PUSH.to_owned()).expect("a request");
        assert_eq!(h2_get(&client, world.gateway.address(), request).status().as_u16(), status);
    }
}

#[test]
fn a_reload_takes_effect_on_open_connections_and_on_the_next_handshake() {
    let world = World::start(false);
    let identity = world.sign(&[dns("orders.corp")]);
    let client = world.servers.client_as(Some(&identity), &[], ALL_VERSIONS);
    let mut tls = tls_connect(&client, world.gateway.address(), "localhost").expect("a handshake");
    assert_eq!(tls.connection.call(&push()).status, 200);
    let reload = |yaml: &str| {
        world.gateway.write_config(yaml);
        let answer = world.gateway.reload();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["changed"].clone()
    };
    // The name is given to another caller, and then removed.
    let yaml = world.config.yaml().replace(", \"orders.corp\"", "");
    assert_eq!(reload(&yaml)[0], "caller orders changed: certificates");
    tls.connection.call(&push()).assert_refused(401, "unauthenticated", 1002);
    reload(&format!(
        "{yaml}  heir: {{ certificates: [ orders.corp ], tenants: [ shop ], allow: [ push ] }}\n"
    ));
    assert_eq!(tls.connection.call(&push().header("X-Request-Id", "heir")).status, 200);
    assert_eq!(world.gateway.line("heir")["caller"], "heir");
    // After a change of the authority, old certificates are refused, and none of their sessions is resumed.
    let others = Authority::new();
    world.gateway.folder.write("clients.pem", others.pem());
    assert_eq!(reload(&world.config.yaml())[0], "listeners changed");
    assert!(world.call(Some(&identity), &push()).is_err());
    let renewed = others.sign_client(&with_names(&[dns("orders.corp")]));
    assert_eq!(world.call(Some(&renewed), &push()).expect("a handshake").status, 200);
    // A file that cannot be read changes nothing.
    world.gateway.folder.write("clients.pem", "no certificate");
    let answer = world.gateway.reload();
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("clients.pem"), "{}", answer.text());
    assert_eq!(world.call(Some(&renewed), &push()).expect("a handshake").status, 200);
}
