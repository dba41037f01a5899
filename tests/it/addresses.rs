//! Tests of a vendor with several addresses, not all of which work, and of a resolver that does not answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Instant;

use crate::support::{
    Answer, Authority, Config, Folder, GOOD, Gateway, Names, PUSH, Request, SilentPort, Stub, Talk, Tokens,
    tls_vendor_on,
};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// A loopback address on which no other test listens at this port.
fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 83, 0, last])
}

/// A vendor that listens at this address.
fn vendor_at(address: SocketAddr, talk: impl Fn(&mut Talk) + Send + Sync + 'static) -> Stub {
    Stub::on(TcpListener::bind(address).expect("a free port of an address of its own"), talk)
}

/// Makes four calls over connections that cannot be reused.
fn call_often(gateway: &Gateway) -> Vec<Answer> {
    (0..4).map(|_| gateway.call(&push())).collect()
}

/// Answers one request and closes, so that every call opens a new connection.
fn once(talk: &mut Talk) {
    if talk.read_request().is_some() {
        talk.write(GOOD.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    }
}

fn failures(gateway: &Gateway) -> bool {
    gateway.page("/metrics").text().contains("jpush_gateway_vendor_failures_total{")
}

#[test]
fn a_silent_ipv6_address_costs_no_call() {
    let [v4, v6] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let Some(silent) = SilentPort::at(v6) else {
        return eprintln!("skipped: this machine has no IPv6");
    };
    let port = silent.address.port();
    let vendor = vendor_at(SocketAddr::from((v4, port)), once);
    // The resolver prefers IPv6.
    let Some(names) = Names::of("vendor.test", &[v4, v6]) else { return };
    let mut config = Config::new(&format!("http://vendor.test:{port}"));
    config.vendor = "allow_plaintext: true".into();
    let (gateway, _folder) = names.start(Folder::new(), config);
    for answer in call_often(&gateway) {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(vendor.requests().len(), 4);
    assert!(!failures(&gateway), "no attempt failed");
}

#[test]
fn a_silent_address_of_two_of_one_family_costs_no_call() {
    // The order in which the resolver gives the two addresses is not known, so both are tried.
    for (silent, good, addresses) in [(1, 2, [1, 2]), (3, 4, [4, 3])] {
        let silent = SilentPort::at(loopback(silent)).expect("IPv4");
        let port = silent.address.port();
        let vendor = vendor_at(SocketAddr::from((loopback(good), port)), once);
        let addresses = addresses.map(loopback);
        let Some(names) = Names::of("vendor.test", &addresses) else { return };
        let mut config = Config::new(&format!("http://vendor.test:{port}"));
        config.vendor = "allow_plaintext: true".into();
        let (gateway, _folder) = names.start(Folder::new(), config);
        for answer in call_often(&gateway) {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(vendor.requests().len(), 4);
        assert!(!failures(&gateway), "no attempt failed");
        assert_eq!(gateway.used("app", "push"), 4);
    }
}

#[test]
fn a_silent_address_of_a_proxy_costs_no_call() {
    let silent = SilentPort::at(loopback(5)).expect("IPv4");
    let port = silent.address.port();
    let vendor = Stub::start(once);
    let behind = vendor.address;
    let proxy = vendor_at(SocketAddr::from((loopback(6), port)), move |talk| {
        if talk.read_request().is_some() {
            talk.tunnel_to(behind);
        }
    });
    let Some(names) = Names::of("proxy.test", &[loopback(5), loopback(6)]) else { return };
    let mut config = Config::new("http://vendor.example:8081");
    config.vendor = format!("allow_plaintext: true, proxy: \"http://proxy.test:{port}\"");
    let (gateway, _folder) = names.start(Folder::new(), config);
    for answer in call_often(&gateway) {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!((vendor.requests().len(), proxy.requests().len()), (4, 4));
    assert!(!failures(&gateway), "no attempt failed");
}

/// A bad address accepts connections and shows another certificate, or sends nothing. The call fails over to the other
/// address, and later calls start there.
#[test]
fn an_address_that_shows_another_certificate_is_tried_last() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign(&["vendor.test"]);
    let bad = Stub::start(|talk| {
        talk.write("HTTP/1.1 400 Bad Request\r\n\r\n");
        talk.wait_for_end();
    });
    let good = TcpListener::bind((loopback(7), bad.address.port())).expect("an address of its own");
    let good = tls_vendor_on(good, &certificate, &key);
    // The resolver prefers the address that is closest to the gateway's own.
    let Some(names) = Names::of("vendor.test", &[Ipv4Addr::LOCALHOST.into(), loopback(7)]) else { return };
    let folder = Folder::new();
    folder.write("ca.pem", authority.pem());
    let mut config = Config::new(&format!("https://vendor.test:{}", good.port()));
    config.vendor = "ca: ca.pem".into();
    let (gateway, _folder) = names.start(folder, config);
    for _ in 0..4 {
        // A GET fits one TCP segment, so the vendor here reads it in one piece.
        let answer = gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(bad.connections(), 1);
}

#[test]
fn addresses_that_are_all_silent_are_told_as_no_connection_in_time() {
    let silent = SilentPort::at(loopback(8)).expect("IPv4");
    let mut config = Config::new(&format!("http://{}", silent.address));
    config.vendor = "connect_timeout: 300ms".into();
    let gateway = Gateway::start(&config);
    gateway.call(&push()).assert_refused(502, "vendor-unreachable", 1030);
    let series = r#"jpush_gateway_vendor_failures_total{kind="connect-timeout",operation="push"}"#;
    assert!(gateway.metric(series) > 0.5);
    assert_eq!(gateway.used("app", "push"), 0);
}

#[test]
fn an_end_does_not_wait_for_a_resolver_that_hangs() {
    let server = SocketAddr::from(([127, 83, 0, 53], 53));
    let Ok(resolver) = UdpSocket::bind(server) else {
        return eprintln!("skipped: port 53 is not ours to listen on");
    };
    let Some(names) = Names::asking(server.ip()) else { return };
    let mut config = Config::new("http://vendor.test:81");
    config.vendor = "allow_plaintext: true, connect_timeout: 200ms".into();
    let (mut gateway, _folder) = names.start(Folder::new(), config);
    gateway.call(&push()).assert_refused(502, "vendor-unreachable", 1030);
    resolver.recv(&mut [0; 512]).expect("a question that is never answered");
    let start = Instant::now();
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0), "{}", gateway.program.err());
    // The system's resolver gives up after 20 s in this setup.
    assert!(start.elapsed() < crate::support::PATIENCE);
}
