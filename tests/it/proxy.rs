//! Tests of a CONNECT proxy before the vendor: without a tunnel, nothing is sent.

use std::net::SocketAddr;

use crate::support::{
    Authority, ClosedPort, Config, Folder, Gateway, PUSH, Request, Stub, Talk, Tokens, basic, start_failing,
    tls_vendor,
};

fn tags() -> Request {
    Request::get("/v3/tags").bearer(Tokens::ORDERS)
}

/// A proxy that tunnels to `vendor`, whatever host it is asked for.
fn proxy_to(vendor: SocketAddr) -> Stub {
    Stub::start(move |talk| {
        if talk.read_request().is_some() {
            talk.tunnel_to(vendor);
        }
    })
}

/// A gateway whose vendor has a name that only the proxy can resolve.
fn start(proxy: SocketAddr, vendor_url: &str, more: &str) -> (Gateway, Config) {
    let mut config = Config::new(vendor_url);
    config.vendor = format!("allow_plaintext: true, proxy: \"http://{proxy}\"{more}");
    (Gateway::start(&config), config)
}

fn failures(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metric(&format!("jpush_gateway_vendor_failures_total{{kind=\"{kind}\",operation=\"tag-list\"}}"))
}

#[test]
fn tls_goes_through_the_tunnel_to_the_vendor_and_nobody_else() {
    let authority = Authority::new();
    let call = |name: &str| {
        let (certificate, key) = authority.sign(&[name]);
        let proxy = proxy_to(tls_vendor(&certificate, &key));
        let folder = Folder::new();
        folder.write("vendor-ca.pem", authority.pem());
        let mut config = Config::new("https://vendor.example");
        config.vendor = format!("ca: vendor-ca.pem, proxy: \"http://{}\"", proxy.address);
        (Gateway::start_in(folder, &config), proxy)
    };
    let (gateway, proxy) = call("vendor.example");
    for _ in 0..3 {
        let answer = gateway.call(&tags());
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    }
    // The proxy got one connection and nothing but this head.
    let asked = proxy.only();
    assert_eq!(asked.line, "CONNECT vendor.example:443 HTTP/1.1");
    assert_eq!(asked.names(), ["Host", "User-Agent"]);
    assert_eq!(asked.header("Host"), Some("vendor.example:443"));

    let (gateway, _proxy) = call("other.example");
    gateway.call(&tags()).assert_refused(502, "vendor-unreachable", 1030);
    assert!(failures(&gateway, "tls") > 0.5);
}

#[test]
fn plain_text_goes_through_the_tunnel_too() {
    let vendor = Stub::good();
    let proxy = proxy_to(vendor.address);
    let (gateway, _) = start(proxy.address, "http://vendor.example:8081", "");
    assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)).status, 200);
    assert_eq!(proxy.only().line, "CONNECT vendor.example:8081 HTTP/1.1");
    let received = vendor.only();
    assert_eq!((received.line.as_str(), &*received.body), ("POST /v3/push HTTP/1.1", PUSH.as_bytes()));
    assert_eq!(received.header("Host"), Some("vendor.example:8081"));
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    let (vendor, proxy) = (Stub::good(), Stub::good());
    let (gateway, _) = start(proxy.address, &vendor.url(), "");
    assert_eq!(gateway.call(&tags()).status, 200);
    assert_eq!((vendor.requests().len(), proxy.connections()), (1, 0));
}

#[test]
fn nothing_is_sent_without_a_tunnel() {
    type Refusal = (&'static str, fn(&mut Talk));
    let ways: [Refusal; 8] = [
        ("407", |talk| {
            talk.write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
            talk.wait_for_end();
        }),
        ("503", |talk| talk.write("HTTP/1.1 503 No\r\n\r\n<html>sorry</html>")),
        ("no HTTP", |talk| talk.write("220 mail.example ESMTP\r\n\r\n")),
        ("TLS", |talk| talk.write([0x15, 3, 1, 0, 2, 2, 70])),
        ("endless head", |talk| {
            talk.write("HTTP/1.1 200 OK\r\n");
            talk.write("X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(1_000));
            talk.wait_for_end();
        }),
        ("more than a head", |talk| {
            talk.write("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            talk.wait_for_end();
        }),
        ("closed", |_| {}),
        ("reset", |talk| talk.reset()),
    ];
    for (what, way) in ways {
        let proxy = Stub::start(move |talk| {
            let _ = talk.read_request();
            way(talk);
        });
        let (gateway, _) = start(proxy.address, "http://vendor.example", "");
        let answer = gateway.call(&tags());
        assert_eq!((answer.status, answer.reason()), (502, Some("vendor-unreachable")), "{what}");
        assert_eq!(gateway.used("app", "device"), 0, "{what}");
        assert!(failures(&gateway, "proxy") > 1.5, "{what}: both attempts");
        let asked = proxy.requests();
        assert_eq!(asked.len(), 2, "{what}: {asked:?}");
        assert!(asked.iter().all(|request| request.line.starts_with("CONNECT ")), "{what}: {asked:?}");
    }
}

#[test]
fn a_user_and_a_password_open_the_tunnel_and_are_never_shown() {
    const PASSWORD: &str = "proxyPasswordForTests2026";
    let vendor = Stub::good();
    let (behind, authorization) = (vendor.address, basic("gateway", PASSWORD));
    let proxy = Stub::start(move |talk| {
        let asked = talk.read_request();
        if asked.is_some_and(|asked| asked.header("Proxy-Authorization") == Some(&*authorization)) {
            return talk.tunnel_to(behind);
        }
        talk.write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        talk.wait_for_end();
    });
    let url = format!("url: \"http://{}\"", proxy.address);
    let folder = Folder::new();
    folder.write("proxy-password", format!("{PASSWORD}\n"));
    let mut config = Config::new("http://vendor.example:8081");
    config.log = "trace";
    let with = |config: &mut Config, proxy: &str| {
        config.vendor = format!("allow_plaintext: true, proxy: {{ {url}{proxy} }}");
    };
    with(&mut config, ", user: gateway, password: { file: proxy-password }");
    let gateway = Gateway::start_in(folder, &config);
    assert_eq!(gateway.call(&tags()).status, 200);
    assert_eq!(vendor.only().header("Proxy-Authorization"), None);
    // Without credentials, and with wrong ones, there is no tunnel.
    let reload = |config: &Config| {
        gateway.write_config(&config.yaml());
        let answer = gateway.reload();
        assert_eq!((answer.status, &answer.json()["changed"][0]), (200, &"vendor changed".into()));
    };
    with(&mut config, "");
    reload(&config);
    gateway.call(&tags()).assert_refused(502, "vendor-unreachable", 1030);
    with(&mut config, ", user: gateway, password: { value: other }");
    reload(&config);
    gateway.call(&tags()).assert_refused(502, "vendor-unreachable", 1030);
    // A rotated password is read again and used.
    with(&mut config, ", user: gateway, password: { file: proxy-password }");
    reload(&config);
    assert_eq!(gateway.call(&tags()).status, 200);
    let shown = [gateway.program.err(), gateway.program.out(), gateway.status().to_string()].concat();
    assert!(!shown.contains(PASSWORD) && !shown.contains(&basic("gateway", PASSWORD)[6..]), "{shown}");
}

#[test]
fn credentials_in_the_url_are_refused_with_the_form_that_is_right() {
    let mut config = Config::new("http://vendor.example:8081");
    config.vendor = "allow_plaintext: true, proxy: \"http://gateway:hunter2@127.0.0.1:3128\"".into();
    let (code, said) = start_failing(&Folder::new(), &config);
    assert_eq!(code, 1);
    assert!(said.contains("vendor.proxy: ") && said.contains("user: NAME, password: {"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_proxy_that_hangs_costs_the_time_to_connect() {
    let proxy = Stub::start(|talk| {
        let _ = talk.read_request();
        talk.write("HTTP/1.1 200 OK\r\n");
        talk.wait_for_end();
    });
    let (gateway, _) = start(proxy.address, "http://vendor.example", ", connect_timeout: 200ms");
    gateway.call(&tags()).assert_refused(502, "vendor-unreachable", 1030);
    assert!(failures(&gateway, "connect-timeout") > 1.5);
    assert_eq!(gateway.used("app", "device"), 0);
}

#[test]
fn a_proxy_that_is_down_opens_the_circuit_and_another_one_is_another_way() {
    let (port, vendor) = (ClosedPort::new(), Stub::good());
    let (gateway, mut config) = start(port.address, "http://vendor.example", "");
    for _ in 0..3 {
        gateway.call(&tags()).assert_refused(502, "vendor-unreachable", 1030);
    }
    gateway.call(&tags()).assert_refused(503, "vendor-circuit-open", 1030);
    assert_eq!(failures(&gateway, "proxy").to_string(), "5");
    // The state of one route says nothing about another.
    let mut reload = |proxy: &Stub| {
        config.vendor = format!("allow_plaintext: true, proxy: \"http://{}\"", proxy.address);
        gateway.write_config(&config.yaml());
        let answer = gateway.reload();
        assert_eq!((answer.status, &answer.json()["changed"][0]), (200, &"vendor changed".into()));
    };
    let proxies = [proxy_to(vendor.address), proxy_to(vendor.address)];
    for proxy in &proxies {
        reload(proxy);
        assert_eq!(gateway.call(&tags()).status, 200);
        assert_eq!(proxy.connections(), 1);
    }
    assert_eq!(vendor.requests().len(), 2);
}
