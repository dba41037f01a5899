//! Tests of clients without a credential and of idle ones: they hold little memory, with a limit, and it is freed.

use std::fs;
use std::net::TcpStream;

use crate::support::{
    Authority, Config, Connection, Folder, Gateway, PUSH, Request, Stub, Tokens, json_answer, tls_connect,
    wait_for, wait_until,
};

const HEAD_MEMORY: &str = "jpush_gateway_head_memory_bytes";

fn with_limits(vendor: &Stub, limits: &str) -> Gateway {
    let mut config = Config::new(&vendor.url());
    config.limits = limits.into();
    Gateway::start(&config)
}

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// Resident memory of the gateway in bytes.
fn resident_bytes(gateway: &Gateway) -> u64 {
    let path = format!("/proc/{}/status", gateway.program.id());
    let status = fs::read_to_string(path).expect("the gateway runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line for memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// An unfinished head of this length.
fn half_a_head(bytes: usize) -> String {
    let mut head = "GET /v3/push/cid HTTP/1.1\r\nHost: gateway\r\n".to_owned();
    while head.len() < bytes {
        let missing = (bytes - head.len()).min(1000);
        let name = head.len();
        head.extend(["X-", &name.to_string(), ": ", &"y".repeat(missing), "\r\n"]);
    }
    head
}

/// Whether there are bytes to read.
fn has_answer(connection: &Connection) -> bool {
    let stream: &TcpStream = connection.stream();
    stream.set_nonblocking(true).expect("a socket");
    let came = stream.peek(&mut [0]).is_ok();
    stream.set_nonblocking(false).expect("a socket");
    came
}

#[test]
fn unfinished_heads_have_a_memory_of_their_own() {
    let vendor = Stub::good();
    let gateway = with_limits(&vendor, "head_memory: 256KiB, header_timeout: 1h");
    let stranger = || {
        let mut stranger = gateway.connect();
        stranger.send(half_a_head(30 * 1024));
        stranger
    };
    let held: Vec<_> = (0..3).map(|_| stranger()).collect();
    wait_until("they are counted", || gateway.metric(HEAD_MEMORY) >= 90.0 * 1024.0);
    // There is room for at most five more.
    let mut more: Vec<_> = (0..8).map(|_| stranger()).collect();
    let turned_away = wait_for("one too many", || more.iter().position(has_answer));
    assert!(gateway.metric(HEAD_MEMORY) <= 256.0 * 1024.0);
    let mut turned_away = more.swap_remove(turned_away);
    let answer = turned_away.read_answer();
    assert_eq!((answer.status, answer.header("Connection")), (503, Some("close")));
    assert_eq!(answer.number("Retry-After"), 1);
    assert!(turned_away.ends());
    assert_eq!(gateway.call(&push()).status, 200, "a short head needs none of it");
    drop((held, more));
    wait_until("it comes back", || gateway.metric(HEAD_MEMORY) < 0.5);
    let long = (0..20).fold(push(), |long, n| long.header(&format!("X-{n}"), &"y".repeat(1000)));
    let mut kept = gateway.connect();
    for _ in 0..3 {
        assert_eq!(kept.call(&long).status, 200);
        wait_until("an idle connection holds nothing", || gateway.metric(HEAD_MEMORY) < 0.5);
    }
}

#[test]
fn long_handshakes_count_as_heads_do() {
    let (authority, folder, vendor) = (Authority::new(), Folder::new(), Stub::good());
    let (certificate, key) = authority.sign(&["localhost"]);
    folder.write("a.crt", &certificate);
    folder.write("a.key", key);
    let mut config = Config::new(&vendor.url());
    config.listeners =
        "{ address: 127.0.0.1:0, tls: { certificates: [ { certificate: a.crt, private_key: a.key } ] } }"
            .into();
    config.limits = "head_memory: 200KiB, header_timeout: 1h".into();
    let gateway = Gateway::start_in(folder, &config);
    // A ClientHello of 60,000 bytes in records of 10,000, the last of which is not sent.
    let record = |content: &[u8]| {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[22, 3, 1][..], &length, content].concat()
    };
    let first = [&[1, 0, 0xea, 0x60][..], &[0; 9_996]].concat();
    let hello = [record(&first), record(&[0; 10_000]).repeat(4)].concat();
    let stranger = || {
        let mut stranger = gateway.connect();
        let _ = stranger.try_send(&hello);
        stranger
    };
    let mut strangers: Vec<_> = (0..4).map(|_| stranger()).collect();
    let failed = format!(
        "jpush_gateway_tls_handshake_failures_total{{kind=\"no-room\",listener=\"{}\"}}",
        gateway.address()
    );
    wait_until("there is room for two of them", || {
        gateway.page("/metrics").text().contains(&format!("{failed} 2"))
    });
    let held = gateway.metric(HEAD_MEMORY);
    assert!((160.0 * 1024.0..=200.0 * 1024.0).contains(&held), "{held}");
    let tls = tls_connect(&authority.client(&[]), gateway.address(), "localhost").expect("a handshake");
    let mut connection = tls.connection;
    assert_eq!(connection.call(&push()).status, 200, "others have theirs");
    strangers.clear();
    wait_until("it comes back", || gateway.metric(HEAD_MEMORY) < 0.5);
}

#[test]
fn an_idle_connection_keeps_no_answer() {
    const CALLERS: usize = 300;
    let answer = format!("{{\"msg_id\":\"1\",\"x\":\"{}\"}}", "y".repeat(60 * 1024));
    let vendor = Stub::answering(json_answer("200 OK", &answer));
    let mut config = Config::new(&vendor.url());
    config.budgets = "push: { limit: 100000, window: 60s }".into();
    config.shop = "resend_guard: 1s".into();
    let gateway = Gateway::start(&config);
    let callers = || -> Vec<Connection> {
        let call = |_| {
            let mut caller = gateway.connect();
            assert_eq!(caller.call(&push()).status, 200);
            caller
        };
        (0..CALLERS).map(call).collect()
    };
    let first = callers();
    let after_first = resident_bytes(&gateway);
    // Longer than the resend guard waits for a lost answer.
    std::thread::sleep(std::time::Duration::from_secs(6));
    let second = callers();
    // The allocator gives memory back with a delay.
    wait_until("idle connections hold less than half of an answer each", || {
        resident_bytes(&gateway).saturating_sub(after_first) < (CALLERS as u64) * 30 * 1024
    });
    drop((first, second));
}

#[test]
fn the_admin_listener_answers_beside_silent_connections() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut kept = Connection::open(gateway.admin);
    assert_eq!(kept.call(&Request::get("/livez")).status, 200);
    let mut silent = Vec::new();
    for round in 0..200 {
        let mut stranger = Connection::open(gateway.admin);
        if round % 2 == 0 {
            stranger.send("GET /livez HTTP/1.1\r\nHos");
        }
        silent.push(stranger);
        if round % 20 == 0 {
            assert_eq!(kept.call(&Request::get("/livez")).status, 200, "who asks is not silent");
        }
    }
    for page in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gateway.page(page).status, 200, "{page}");
    }
    assert!(silent[0].ends(), "it made room");
}

/// The soft and the hard limit of the gateway's open files.
fn open_files(gateway: &Gateway) -> Vec<u64> {
    let path = format!("/proc/{}/limits", gateway.program.id());
    let limits = fs::read_to_string(path).expect("the gateway runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line for files");
    line.split_whitespace().take(2).map(|limit| limit.parse().expect("a number")).collect()
}

#[test]
fn as_many_files_as_the_system_allows() {
    const WARNING: &str = "fewer files may be open than limits.connections";
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.shell = "ulimit -Sn 300; ulimit -Hn 900";
    let gateway = Gateway::start(&config);
    assert_eq!(open_files(&gateway), [900, 900]);
    gateway.log_line(&[WARNING, "limit=900 needed=12129"]);
    config.limits = "connections: 400, in_flight: 200".into();
    let gateway = Gateway::start(&config);
    assert_eq!(open_files(&gateway), [900, 900]);
    assert!(!gateway.program.err().contains(WARNING), "{}", gateway.program.err());
}
