//! Tests of the circuit breaker: it opens after five failures, and then only one call at a time probes the host.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use crate::support::{
    Answer, ClosedPort, Config, Connection, GOOD, Gateway, PUSH, Request, Stub, Tokens, wait_for, wait_until,
};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

fn circuit(gateway: &Gateway, host: SocketAddr) -> String {
    let status = gateway.status();
    let word = &status["vendor"][host.to_string()]["circuit"];
    word.as_str().unwrap_or_else(|| panic!("no {host} in {status}")).to_owned()
}

/// Whether the metric shows an open circuit.
fn is_open(gateway: &Gateway, host: SocketAddr) -> bool {
    let page = gateway.page("/metrics").text();
    let series = format!("jpush_gateway_vendor_circuit_open{{host=\"{host}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&series));
    match value {
        Some("0") => false,
        Some("1") => true,
        other => panic!("{series}{other:?}"),
    }
}

/// Makes calls until the circuit refuses one. Returns the number of calls that failed before, and the refusal.
fn open_circuit(connection: &mut Connection) -> (usize, Answer) {
    for failed in 0.. {
        let answer = connection.call(&push());
        if answer.status == 503 {
            return (failed, answer);
        }
        answer.assert_refused(502, "vendor-unreachable", 1030);
    }
    unreachable!("a call is refused in the end")
}

#[test]
fn a_host_that_is_down_is_left_alone_until_a_probe_finds_it_back() {
    let port = ClosedPort::new();
    let (address, other) = (port.address, Stub::good());
    let mut config = Config::new(&format!("http://{address}"));
    // Callers' connections are spread over both workers.
    config.workers = 2;
    let device = [format!("device: \"http://{address}\""), format!("device: \"{}\"", other.url())];
    let yaml = config.yaml().replace(&device[0], &device[1]);
    let gateway = Gateway::start(&config);
    gateway.write_config(&yaml);
    assert_eq!(gateway.reload().status, 200);
    assert!(!is_open(&gateway, address));

    // Each call makes two attempts, so the fifth failure is the first attempt of the third call.
    let (failed, refused) = open_circuit(&mut gateway.connect());
    assert_eq!(failed, 3);
    refused.assert_refused(503, "vendor-circuit-open", 1030);
    assert!((1..=10).contains(&refused.number("Retry-After")), "{refused:?}");
    assert_eq!((refused.number("X-Rate-Limit-Remaining"), gateway.used("app", "push")), (600, 0));
    assert!(is_open(&gateway, address) && circuit(&gateway, address) == "open");
    assert!(gateway.metric(r#"jpush_gateway_retries_total{operation="push"}"#) < 2.5);

    // Each host has a circuit of its own, and a reload keeps its state.
    assert_eq!(gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS)).status, 200);
    assert!(!is_open(&gateway, other.address) && circuit(&gateway, other.address) == "closed");
    gateway.write_config(&yaml.replace("guard: 10s", "guard: 11s"));
    assert_eq!(gateway.reload().status, 200);
    assert!(is_open(&gateway, address));

    let vendor = Stub::on(port.open(), |talk| talk.answer_all(GOOD));
    wait_until("a probe that finds it back", || {
        let answer = gateway.call(&push());
        assert!(answer.status == 200 || answer.reason() == Some("vendor-circuit-open"), "{answer:?}");
        answer.status == 200
    });
    assert!(!is_open(&gateway, address) && circuit(&gateway, address) == "closed");
    assert_eq!(gateway.call(&push()).status, 200);
    assert_eq!((vendor.requests().len(), gateway.used("app", "push")), (2, 2));
    wait_until("the last line", || gateway.program.err().contains("can be reached again"));
    let log = gateway.program.err();
    assert_eq!(log.matches("the vendor's host cannot be reached").count(), 1, "{log}");
    assert_eq!(log.matches("the vendor's host can be reached again").count(), 1, "{log}");
}

#[test]
fn one_probe_at_a_time_while_a_host_hangs() {
    let port = ClosedPort::new();
    let address = port.address;
    // TLS is used, so that a host can accept a connection and still be unreachable.
    let mut config = Config::new(&format!("https://{address}"));
    config.workers = 2;
    config.vendor = "connect_timeout: 25s".into();
    // The probe holds the only slot. Calls that the circuit refuses never ask the budget for one.
    config.budgets = "push: { limit: 1, window: 60s }".into();
    let gateway = Gateway::start(&config);
    open_circuit(&mut gateway.connect());
    let (told, tell) = mpsc::channel();
    let tell = Mutex::new(tell);
    let vendor = Stub::on(port.open(), move |_| {
        let _ = tell.lock().expect("no stub panics").recv();
    });
    // Calls whose answers are not awaited: the first that is due becomes the probe.
    let mut probes = Vec::new();
    wait_until("a probe", || {
        let mut caller = gateway.connect();
        caller.send(push().bytes());
        probes.push(caller);
        vendor.connections() > 0
    });
    wait_until("the probe is seen", || circuit(&gateway, address) == "probing");
    for _ in 0..20 {
        let answer = gateway.call(&push());
        answer.assert_refused(503, "vendor-circuit-open", 1030);
    }
    assert_eq!((vendor.connections(), gateway.used("app", "push")), (1, 1));
    told.send(()).expect("the vendor waits");
    let answers: Vec<_> = probes.iter_mut().map(Connection::read_answer).collect();
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(502), count(503)), (1, answers.len() - 1), "who probed is told so: {answers:?}");
    assert_eq!((circuit(&gateway, address).as_str(), gateway.used("app", "push")), ("open", 0));
}

#[test]
fn calls_over_open_connections_pass_and_close_the_circuit() {
    let vendor = Stub::good();
    let address = vendor.address;
    let mut config = Config::new(&vendor.url());
    config.workers = 2;
    let gateway = Gateway::start(&config);
    let mut lucky = gateway.connect();
    assert_eq!(lucky.call(&push()).status, 200);
    // Connections that are open stay open.
    drop(vendor);
    wait_until("the vendor listens no more", || TcpStream::connect(address).is_err());
    // This caller's connection is on the other worker, which has no connection to the vendor.
    let mut unlucky = wait_for("a caller on the other worker", || {
        let mut caller = gateway.connect();
        (caller.call(&push()).status == 502).then_some(caller)
    });
    open_circuit(&mut unlucky);
    assert!(is_open(&gateway, address));
    assert_eq!(lucky.call(&push()).status, 200);
    assert!(!is_open(&gateway, address));
    // The circuit is closed again, so it takes five failures to open it.
    let (failed, _) = open_circuit(&mut unlucky);
    assert_eq!(failed, 3);
}

#[test]
fn answers_that_are_late_or_broken_do_not_open_it() {
    let calls = AtomicUsize::new(0);
    let vendor = Stub::start(move |talk| {
        let _ = talk.read_request();
        // The first calls get no answer; for later ones the connection is closed.
        if calls.fetch_add(1, Ordering::SeqCst) < 6 {
            talk.wait_for_end();
        }
    });
    let mut config = Config::new(&vendor.url());
    config.vendor = "response_timeout: 200ms".into();
    let gateway = Gateway::start(&config);
    for number in 1..=12 {
        let answer = gateway.call(&push());
        let expected = if number <= 6 { (504, "vendor-timeout") } else { (502, "vendor-interrupted") };
        assert_eq!((answer.status, answer.reason()), (expected.0, Some(expected.1)), "call {number}");
    }
    assert!(!is_open(&gateway, vendor.address));
    assert_eq!(vendor.connections(), 12);
}
