//! Tests of TLS on both sides: certificates by name, protocols by ALPN, vendors by trust.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::{
    Authority, Config, Folder, Gateway, PUSH, Request, Stub, Tokens, h2_get, start_failing, tls_connect,
    tls_vendor, wait_until,
};

/// A gateway with certificates for a.example (and localhost) and for b.example.
fn start(http2: &str, vendor: &Stub) -> (Gateway, Authority, [Vec<u8>; 2]) {
    let authority = Authority::new();
    let folder = Folder::new();
    let leaves = [("a", &["a.example", "localhost"][..]), ("b", &["b.example", "*.b.example"][..])].map(
        |(file, names)| {
            let (certificate, key) = authority.sign(names);
            folder.write(&format!("{file}.crt"), &certificate);
            folder.write(&format!("{file}.key"), key);
            CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM").to_vec()
        },
    );
    let mut config = Config::new(&vendor.url());
    config.listeners = format!(
        "{{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ certificate: a.crt, private_key: a.key }}, \
         {{ certificate: b.crt, private_key: b.key }} ], {http2} }} }}, {{ address: \"127.0.0.1:0\" }}"
    );
    (Gateway::start_in(folder, &config), authority, leaves)
}

#[test]
fn certificates_are_chosen_by_name() {
    let vendor = Stub::good();
    let (gateway, authority, [a, b]) = start("http2: false", &vendor);
    let client = authority.client(&[]);
    for (name, leaf) in
        [("a.example", &a), ("localhost", &a), ("b.example", &b), ("x.b.example", &b), ("B.EXAMPLE", &b)]
    {
        let mut tls = tls_connect(&client, gateway.listeners[0], name)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(tls.leaf.as_ref(), Some(leaf), "{name}");
        let answer = tls.connection.call(&Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS));
        assert_eq!(answer.status, 200, "{name}");
        // The connection is kept open like any other.
        assert_eq!(tls.connection.call(&Request::get("/")).status, 200);
    }
    // An unknown name gets the first certificate, which the client then refuses.
    assert!(tls_connect(&client, gateway.listeners[0], "c.example").is_err());
    // The other listener serves, too.
    assert_eq!(crate::support::Connection::open(gateway.listeners[1]).call(&Request::get("/")).status, 200);
}

/// Many clients close without `close_notify`. The answer was there, so the same push again is a new push.
#[test]
fn a_connection_may_end_without_the_words_of_tls() {
    let vendor = Stub::good();
    let (gateway, authority, _) = start("http2: false", &vendor);
    for number in 1..=2 {
        let mut tls =
            tls_connect(&authority.client(&[]), gateway.listeners[0], "localhost").expect("a handshake");
        assert_eq!(tls.connection.call(&Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)).status, 200);
        drop(tls);
        wait_until("the gateway notices", || gateway.metric("jpush_gateway_connections") < 0.5);
        assert_eq!(vendor.requests().len(), number);
    }
}

#[test]
fn http1_alone_unless_asked_for_more() {
    let vendor = Stub::good();
    let (gateway, authority, _) = start("", &vendor);
    let agreed = |gateway: &Gateway, authority: &Authority, offered: &[&str]| {
        tls_connect(&authority.client(offered), gateway.listeners[0], "localhost").ok().map(|tls| tls.alpn)
    };
    assert_eq!(agreed(&gateway, &authority, &["h2", "http/1.1"]), Some(Some("http/1.1".into())));
    assert_eq!(agreed(&gateway, &authority, &[]), Some(None));
    assert_eq!(agreed(&gateway, &authority, &["h2"]), None, "no protocol in common");
    let (gateway, authority, _) = start("http2: true", &vendor);
    assert_eq!(agreed(&gateway, &authority, &["h2", "http/1.1"]), Some(Some("h2".into())));
    assert_eq!(agreed(&gateway, &authority, &["http/1.1"]), Some(Some("http/1.1".into())));
    assert_eq!(agreed(&gateway, &authority, &[]), Some(None));
}

#[test]
fn http2_carries_the_same_calls() {
    let vendor = Stub::good();
    let (gateway, authority, _) = start("http2: true", &vendor);
    let client = authority.client(&["h2"]);
    let send = |path: &str, token: &str, body: &str| {
        let request = http::Request::post(format!("https://localhost{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body.to_owned())
            .expect("a good request");
        h2_get(&client, gateway.listeners[0], request)
    };
    let answer = send("/v3//push/?x=1", Tokens::ORDERS, PUSH);
    assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (200, &b"{}"[..]));
    assert_eq!(answer.headers()["x-rate-limit-remaining"], "599");
    let received = vendor.only();
    assert_eq!((received.line.as_str(), &*received.body), ("POST /v3/push?x=1 HTTP/1.1", PUSH.as_bytes()));
    assert_eq!(received.header("Host"), Some(&*vendor.address.to_string()));
    let refused = send("/v3/push", "wrong", PUSH);
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-jpush-gateway-reason"]),
        (401, &"unauthenticated".parse().expect("a value"))
    );
    let unknown = send("/v3/nothing", Tokens::ORDERS, "{}");
    assert_eq!(unknown.status().as_u16(), 404);
    assert_eq!(vendor.requests().len(), 1);
}

/// A `ClientHello` of TLS 1.1, written by hand, because the clients here do not support it.
#[test]
fn versions_before_1_2_are_refused() {
    let vendor = Stub::good();
    let (gateway, ..) = start("", &vendor);
    let hello_of = |version: [u8; 2]| {
        // Version, random, no session, one suite with its signalling value, no compression. The only extension,
        // signature algorithms, is the first one that a server asks for.
        let body = [
            &version[..],
            &[7; 32],
            &[0],
            &[0, 4, 0xc0, 0x13, 0, 0xff],
            &[1, 0],
            &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3],
        ]
        .concat();
        let length = |bytes: usize| u8::try_from(bytes).expect("short");
        let message = [&[1, 0, 0, length(body.len())][..], &body].concat();
        [&[22, 3, 1, 0, length(message.len())][..], &message].concat()
    };
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut client = crate::support::Connection::open(gateway.listeners[0]);
        client.send(hello_of(version));
        client.rest().expect("the gateway closes");
        // A fatal alert: protocol_version.
        let answer = client.take_unread();
        assert_eq!(
            (answer.first(), answer.get(5..)),
            (Some(&21), Some(&[2, 70][..])),
            "{version:?}: {answer:?}"
        );
    }
}

#[test]
fn what_is_no_handshake_is_closed() {
    let vendor = Stub::good();
    let (gateway, ..) = start("", &vendor);
    let mut plain = crate::support::Connection::open(gateway.listeners[0]);
    plain.send(Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS).bytes());
    plain.rest().expect("the gateway closes");
    assert!(!String::from_utf8_lossy(&plain.take_unread()).contains("HTTP/1.1"));
    assert!(vendor.requests().is_empty());
}

#[test]
fn a_start_without_its_certificate_is_refused() {
    let folder = Folder::new();
    let mut config = Config::new("http://127.0.0.1:1");
    config.listeners =
        "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: no.crt, private_key: no.key } ] } }".into();
    let (code, said) = start_failing(&folder, &config);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no.crt"), "{said}");
}

#[test]
fn a_vendor_is_trusted_by_its_authority_and_name_only() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let call = |signer: &Authority, names: &[&str]| {
        let (certificate, key) = signer.sign(names);
        let address = tls_vendor(&certificate, &key);
        let folder = Folder::new();
        folder.write("vendor-ca.pem", authority.pem());
        let mut config = Config::new(&format!("https://localhost:{}", address.port()));
        config.vendor = "ca: vendor-ca.pem".into();
        let gateway = Gateway::start_in(folder, &config);
        // A GET fits one TCP segment, so the vendor here reads it in one piece.
        let answer = gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS));
        (answer, gateway)
    };
    let (answer, gateway) = call(&authority, &["localhost"]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert_eq!(gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS)).status, 200, "pooled");
    for (signer, names) in [(&authority, ["other.example"]), (&stranger, ["localhost"])] {
        let (answer, gateway) = call(signer, &names);
        answer.assert_refused(502, "vendor-unreachable", 1030);
        assert_eq!(gateway.used("app", "device"), 0, "a handshake is not the request");
        assert!(
            gateway.metric(r#"jpush_gateway_vendor_failures_total{kind="tls",operation="tag-list"}"#) > 0.5
        );
    }
}

/// Files as editors on Windows save them, and joined by `cat`.
#[test]
fn files_with_byte_order_marks_are_read_whole() {
    let (authority, clients, vendor_side) = (Authority::new(), Authority::new(), Authority::new());
    let (certificate, key) = vendor_side.sign(&["localhost"]);
    let vendor = tls_vendor(&certificate, &key);
    let folder = Folder::new();
    let mark = "\u{feff}";
    let (certificate, key) = authority.sign(&["localhost"]);
    let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM").to_vec();
    folder.write("tls.crt", [mark, &certificate, mark, &authority.pem()].concat());
    folder.write("tls.key", [mark, &key].concat());
    folder.write("clients.pem", [mark, &Authority::new().pem(), mark, &clients.pem()].concat());
    folder.write("vendor.pem", [mark, &vendor_side.pem()].concat());
    let mut config = Config::new(&format!("https://localhost:{}", vendor.port()));
    config.vendor = "ca: vendor.pem".into();
    config.listeners = "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: tls.crt, \
                        private_key: tls.key } ], client_ca: clients.pem } }"
        .into();
    config.orders = "certificates: [ orders.corp ]".into();
    let gateway = Gateway::start_in(folder, &config);
    gateway.write_config(&[mark, &config.yaml()].concat());
    assert_eq!(gateway.reload().status, 200);
    let params = rcgen::CertificateParams::new(vec!["orders.corp".to_owned()]).expect("a good name");
    let identity = clients.sign_client(&params);
    let client = authority.client_as(Some(&identity), &[], rustls::ALL_VERSIONS);
    let mut tls = tls_connect(&client, gateway.address(), "localhost").expect("a handshake");
    assert_eq!(tls.leaf, Some(leaf));
    assert_eq!(tls.connection.call(&Request::get("/v3/tags")).status, 200);
}

#[test]
fn an_encrypted_key_is_told_as_such() {
    let (certificate, key) = Authority::new().sign(&["localhost"]);
    let body: String = key.lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\n");
    let section =
        |label: &str, head: &str| format!("-----BEGIN {label}-----\n{head}{body}\n-----END {label}-----\n");
    let legacy = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F\n\n";
    let rows = [
        (section("ENCRYPTED PRIVATE KEY", ""), "encrypted"),
        (section("EC PRIVATE KEY", legacy), "encrypted"),
        (section("OPENSSH PRIVATE KEY", ""), "OpenSSH"),
        (section("PRIVATE KEY", "").replace('\n', " "), "line breaks are gone"),
    ];
    for (key, expected) in rows {
        let folder = Folder::new();
        folder.write("tls.crt", &certificate);
        folder.write("tls.key", key);
        let mut config = Config::new("http://127.0.0.1:1");
        config.listeners =
            "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: tls.crt, private_key: tls.key } ] } }"
                .into();
        let (code, said) = start_failing(&folder, &config);
        assert!(code == 1 && said.contains("tls.key") && said.contains(expected), "{expected}: {said}");
        assert!(body.lines().all(|line| !said.contains(line)), "{said}");
    }
}
