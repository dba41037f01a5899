//! Tests of budgets over restarts: a killed process, one that hands its state over, and damaged files. The vendor's
//! simulator checks that no window is overrun.

use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jpush_gateway::sandbox::Windows;
use serde_json::json;

use crate::support::{
    Config, Connection, Folder, Gateway, Keys, PATIENCE, PUSH, Request, Simulator, Stub, Tokens, run,
    start_failing, stderr, stdout, wait_until,
};

fn tags() -> Request {
    Request::get("/v3/tags").bearer(Tokens::ORDERS)
}

fn broadcast() -> Request {
    Request::post("/v3/push", &PUSH.replace(r#"{"alias":["anna"]}"#, "\"all\"")).bearer(Tokens::ORDERS)
}

/// A configuration with its state in this folder.
fn with_state(vendor_url: &str, budgets: &str, state: &Folder) -> Config {
    let mut config = Config::new(vendor_url);
    config.budgets = budgets.into();
    config.guard = "1s";
    config.more = format!("state_file: \"{}\"", state.path().join("state").display());
    config
}

/// One exchange on a connection that may end at any time. Returns the status if there was an answer.
fn try_call(connection: &mut Option<Connection>, address: SocketAddr, request: &Request) -> Option<u16> {
    let open = || {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Connection::over(stream))
    };
    let mut used = connection.take().or_else(open)?;
    used.try_send(request.bytes()).ok()?;
    let head = used.try_read_head().ok()?;
    let length = head.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
    used.read_exactly(length);
    if head.header("Connection") != Some("close") {
        *connection = Some(used);
    }
    Some(head.status)
}

/// Kills the process under load and starts it again at once, several times.
fn killed_under_load(windows: Windows) {
    const BUDGETS: &str = "device: { limit: 8, window: 2s }";
    let vendor = Simulator::with(BUDGETS, windows);
    vendor.fault(r#"{"operation":"tag-list","times":12,"kind":"delay","delay":"400ms"}"#);
    let state = Folder::new();
    let mut config = with_state(&vendor.url(), BUDGETS, &state);
    config.workers = 2;
    let mut gateway = Gateway::start(&config);
    let (address, over) = (Mutex::new(gateway.address()), AtomicBool::new(false));
    let counted = || vendor.counts(Keys::SHOP_APP, "device")["total"].as_u64().unwrap_or(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut connection = None;
                while !over.load(Ordering::Relaxed) {
                    let address = *address.lock().expect("no client panics");
                    try_call(&mut connection, address, &tags());
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        for calls in [3, 11, 18, 25, 40] {
            wait_until("the vendor counts some more", || counted() >= calls);
            gateway = restart(gateway, &config);
            *address.lock().expect("no client panics") = gateway.address();
        }
        over.store(true, Ordering::Relaxed);
    });
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!(counts["refused"], 0, "{counts}");
    assert!(counts["max_in_any_window"].as_u64().is_some_and(|most| most <= 8), "{counts}");
}

/// Kills a gateway as kill -9 does, and starts another.
fn restart(gateway: Gateway, config: &Config) -> Gateway {
    drop(gateway);
    Gateway::start(config)
}

#[test]
fn a_killed_gateway_loses_no_call_where_windows_are_fixed() {
    killed_under_load(Windows::Fixed);
}

#[test]
fn a_killed_gateway_loses_no_call_where_windows_slide() {
    killed_under_load(Windows::Sliding);
}

#[test]
fn what_was_counted_before_a_kill_is_counted_after_it_and_day_budgets_too() {
    let vendor = Stub::good();
    let state = Folder::new();
    let budgets = "device: { limit: 2, window: 1h }, broadcast: { limit: 1, window: 24h }";
    let config = with_state(&vendor.url(), budgets, &state);
    let gateway = Gateway::start(&config);
    gateway.log_line(&["the state file is new"]);
    assert_eq!((gateway.call(&tags()).status, gateway.call(&broadcast()).status), (200, 200));
    let gateway = restart(gateway, &config);
    assert_eq!((gateway.used("app", "device"), gateway.used("app", "push")), (1, 1));
    assert_eq!(gateway.status()["state_file"], "owned");
    gateway.call(&broadcast()).assert_refused(429, "budget-exhausted", 2008);
    assert_eq!(gateway.call(&tags()).status, 200);
    let wait = gateway.call(&tags()).assert_refused(429, "budget-exhausted", 2002).number("Retry-After");
    assert!((3_400..=3_601).contains(&wait), "{wait}");
    assert_eq!(vendor.requests().len(), 3);
}

#[test]
fn a_successor_listens_at_once_and_serves_when_it_has_the_file() {
    let vendor = Stub::good();
    let state = Folder::new();
    let config = with_state(&vendor.url(), "device: { limit: 2, window: 1h }", &state);
    let mut first = Gateway::start(&config);
    assert_eq!(first.call(&tags()).status, 200);
    let second = Gateway::start(&config);
    assert_eq!(
        (second.status()["state_file"].clone(), second.page("/readyz").status),
        (json!("waiting"), 503)
    );
    let mut waiting = second.connect();
    waiting.send(tags().bytes());
    wait_until("it is let in", || second.status()["in_flight_requests"] == 1);
    assert_eq!(vendor.requests().len(), 1, "nothing is dispatched without the file");
    first.program.signal("TERM");
    let answer = waiting.read_answer();
    assert_eq!((answer.status, answer.number("X-Rate-Limit-Remaining")), (200, 0));
    second.call(&tags()).assert_refused(429, "budget-exhausted", 2002);
    assert_eq!(first.program.wait().code(), Some(0), "{}", first.program.err());
    first.log_line(&["the state file was given away"]);
    assert_eq!(vendor.requests().len(), 2);
}

#[test]
fn without_the_file_requests_are_told_to_come_again() {
    let vendor = Stub::good();
    let state = Folder::new();
    let config = with_state(&vendor.url(), "", &state);
    let first = Gateway::start(&config);
    let mut second = Gateway::start(&config);
    let mut impatient = second.connect();
    impatient.send(tags().bytes());
    let answer = impatient.read_answer();
    answer.assert_refused(503, "draining", 1030);
    assert_eq!(answer.number("Retry-After"), 1);
    assert_eq!(first.call(&tags()).status, 200, "the owner goes on");
    // A process that still waits for the state ends when it is told to.
    impatient.send(tags().bytes());
    wait_until("it is let in", || second.status()["in_flight_requests"] == 1);
    second.program.signal("TERM");
    impatient.read_answer().assert_refused(503, "draining", 1030);
    assert_eq!(second.program.wait().code(), Some(0));
    assert_eq!(vendor.requests().len(), 1);
}

#[test]
fn a_call_under_way_at_the_hand_over_is_finished_and_still_counted() {
    let gate = std::sync::Arc::new(AtomicBool::new(false));
    let open = std::sync::Arc::clone(&gate);
    let vendor = Stub::start(move |talk| {
        while talk.read_request().is_some() {
            wait_until("the gate opens", || open.load(Ordering::SeqCst));
            talk.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let state = Folder::new();
    let config = with_state(&vendor.url(), "device: { limit: 1, window: 1h }", &state);
    let mut first = Gateway::start(&config);
    let mut busy = first.connect();
    busy.send(tags().bytes());
    vendor.wait_for_requests(1);
    let second = Gateway::start(&config);
    first.program.signal("TERM");
    wait_until("the file is handed over", || second.status()["state_file"] == "owned");
    assert_eq!(second.used("app", "device"), 1);
    let wait = second.call(&tags()).assert_refused(429, "budget-exhausted", 2002).number("Retry-After");
    assert!(wait > 3_601, "it can last a while yet: {wait}");
    gate.store(true, Ordering::SeqCst);
    assert_eq!(busy.read_answer().status, 200);
    assert_eq!(first.program.wait().code(), Some(0));
    assert_eq!(vendor.requests().len(), 1);
}

#[test]
fn a_damaged_file_costs_one_window_and_guard_and_a_line_in_the_log() {
    let vendor = Stub::good();
    let state = Folder::new();
    let config = with_state(&vendor.url(), "device: { limit: 2, window: 2s }", &state);
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&tags()).status, 200);
    drop(gateway);
    let path = state.path().join("state");
    let mut bytes = std::fs::read(&path).expect("the state file");
    bytes[100] ^= 1;
    std::fs::write(&path, &bytes).expect("damaged");
    let gateway = Gateway::start(&config);
    gateway.log_line(&["ERROR", "the state file is damaged"]);
    let holding_back =
        "jpush_gateway_budget_holding_back{budget=\"device\",credential=\"app\",tenant=\"shop\"}";
    assert!(gateway.metric(holding_back) > 0.5);
    let refused = gateway.call(&tags());
    assert!(refused.text().contains("the state file does not tell"), "{}", refused.text());
    let wait = refused.assert_refused(429, "budget-exhausted", 2002).number("Retry-After");
    assert!((1..=3).contains(&wait), "{wait}");
    std::thread::sleep(Duration::from_secs(wait));
    assert_eq!(gateway.call(&tags()).status, 200);
}

#[test]
fn a_file_of_somebody_else_stops_the_start_and_is_left_alone() {
    let state = Folder::new();
    let config = with_state("http://127.0.0.1:9", "", &state);
    state.write("state", "dear diary\n");
    let folder = Folder::new();
    let (code, err) = start_failing(&folder, &config);
    let path = state.path().join("state");
    assert!(
        code == 1 && err.contains(&path.display().to_string()) && err.contains("is not a state file"),
        "{err}"
    );
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "dear diary\n");
    let mut config = with_state("http://127.0.0.1:9", "", &state);
    config.more = "state_file: no/such/folder/state".into();
    let (code, err) = start_failing(&folder, &config);
    assert!(code == 1 && err.contains("no/such/folder/state"), "{err}");
}

#[test]
fn on_a_full_disk_nothing_is_sent_that_is_not_written() {
    let vendor = Stub::good();
    let state = Folder::new();
    let mut config = with_state(&vendor.url(), "device: { limit: 2, window: 1h }", &state);
    // The process's files may not grow beyond the head of the state file and a few cells, and it gets no signal when
    // they would.
    config.shell = "trap '' XFSZ; ulimit -f 2";
    let gateway = Gateway::start(&config);
    for _ in 0..3 {
        let answer = gateway.call(&tags());
        answer.assert_refused(503, "overloaded", 1030);
        assert!(answer.text().contains("cannot write its state file"), "{}", answer.text());
    }
    let line = gateway.log_line(&["ERROR", "the state file cannot be written"]);
    assert!(line.contains("File too large") && line.contains(&state.path().display().to_string()), "{line}");
    assert_eq!(gateway.logged(&["the state file cannot be written"]).len(), 1);
    let status = gateway.status();
    assert_eq!(status["state_file"], "cannot be written");
    assert!(status["problems"].to_string().contains("The state file cannot be written; 3 calls"), "{status}");
    let failures = gateway.metric("jpush_gateway_state_file_failures_total");
    assert!((failures - 3.0).abs() < 0.5, "{failures}");
    assert_eq!((gateway.used("app", "device"), vendor.requests().len()), (0, 0));
    config.shell = "";
    let gateway = restart(gateway, &config);
    assert!(!gateway.program.err().contains("damaged"), "{}", gateway.program.err());
    assert_eq!(gateway.call(&tags()).status, 200);
}

#[test]
fn check_and_reload_tell_about_it() {
    let vendor = Stub::good();
    let state = Folder::new();
    let mut config = with_state(&vendor.url(), "", &state);
    config.vendor = "forward_trace: false".into();
    let gateway = Gateway::start(&config);
    let yaml = config.yaml().replace("env: SHOP_APP_SECRET", "value: 5e987ac6d2e04d95a9d8f0d1");
    let path = gateway.folder.write("checked.yaml", yaml);
    let checked = stdout(&run(&["check", "--config", &path.display().to_string()]));
    assert!(checked.contains("state file ") && checked.contains("/state\n"), "{checked}");
    state.write("state", "dear diary\n");
    let refused = run(&["check", "--config", &path.display().to_string()]);
    let err = stderr(&refused);
    assert!(refused.status.code() == Some(1) && err.contains("is not a state file"), "{err}");
    config.more = String::new();
    gateway.write_config(&config.yaml());
    let answer = gateway.reload().json();
    assert_eq!(answer["changed"], json!(["state_file changed"]), "{answer}");
    assert_eq!(answer["needs_restart"], json!(["state_file"]), "{answer}");
}

#[test]
fn a_reload_changes_limits_of_calls_that_were_restored() {
    let vendor = Stub::good();
    let state = Folder::new();
    let mut config = with_state(&vendor.url(), "device: { limit: 3, window: 1h }", &state);
    let gateway = Gateway::start(&config);
    for _ in 0..2 {
        assert_eq!(gateway.call(&tags()).status, 200);
    }
    let gateway = restart(gateway, &config);
    for (limit, status) in [(2, 429), (4, 200), (3, 429)] {
        config.budgets = format!("device: {{ limit: {limit}, window: 1h }}");
        gateway.write_config(&config.yaml());
        assert_eq!(gateway.reload().status, 200);
        assert_eq!(gateway.call(&tags()).status, status, "{limit}");
    }
    assert_eq!(restart(gateway, &config).used("app", "device"), 3);
}

/// A socket that reserves a port by sharing it and never listens, so that nobody else gets the port.
fn share(address: SocketAddr) -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.set_reuse_port(true).expect("an option");
    socket.bind(&address.into()).expect("the address can be shared");
    let address = socket.local_addr().expect("an address").as_socket().expect("an address of IP");
    (socket, address)
}

/// Counts of the answers that clients got during the restarts.
#[derive(Default)]
struct Answers {
    good: AtomicUsize,
    exhausted: AtomicUsize,
    draining: AtomicUsize,
    /// Ids of requests that got no answer.
    lost: Mutex<Vec<String>>,
}

/// Makes calls until `over` is set, on one connection as long as it is kept, or on a new one each time.
fn client(name: &str, address: SocketAddr, keeps: bool, (over, answers): (&AtomicBool, &Answers)) {
    let mut connection = None;
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("{name}-{number}");
        let mut request = tags().header("X-Request-Id", &id);
        if !keeps {
            request = request.header("Connection", "close");
        }
        match try_call(&mut connection, address, &request) {
            Some(200) => answers.good.fetch_add(1, Ordering::Relaxed),
            Some(429) => answers.exhausted.fetch_add(1, Ordering::Relaxed),
            Some(503) => answers.draining.fetch_add(1, Ordering::Relaxed),
            Some(other) => panic!("{other}"),
            None => {
                answers.lost.lock().expect("no client panics").push(id);
                0
            }
        };
    }
}

/// Replaces one process by another on one port, several times, while clients make calls without a pause.
fn rolling_restart(windows: Windows) {
    const BUDGETS: &str = "device: { limit: 40, window: 1s }";
    let vendor = Simulator::with(BUDGETS, windows);
    let (_reserved, address) = share(SocketAddr::from(([127, 0, 0, 1], 0)));
    let state = Folder::new();
    let mut config = with_state(&vendor.url(), BUDGETS, &state);
    config.listeners = format!("{{ address: \"{address}\" }}");
    config.workers = 2;
    let mut gateway = Gateway::start(&config);
    // The admin port can be shared as well.
    drop(share(gateway.admin));
    let (over, answers) = (AtomicBool::new(false), Answers::default());
    let mut logs = Vec::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (over, answers) = (&over, &answers);
            let (name, keeps) = if number % 2 == 0 { ("keeps", true) } else { ("fresh", false) };
            scope.spawn(move || client(&format!("{name}-{number}"), address, keeps, (over, answers)));
        }
        for _ in 0..3 {
            let enough = answers.good.load(Ordering::Relaxed) + 60;
            wait_until("calls are served", || answers.good.load(Ordering::Relaxed) >= enough);
            let next = Gateway::start(&config);
            let mut former = std::mem::replace(&mut gateway, next);
            former.program.signal("TERM");
            assert_eq!(former.program.wait().code(), Some(0), "{}", former.program.err());
            logs.push(former.program.out());
        }
        over.store(true, Ordering::Relaxed);
    });
    gateway.program.signal("TERM");
    gateway.program.wait();
    logs.push(gateway.program.out());
    // A kept connection may be closed while a request is on its way; no process has read such a request.
    let lost = answers.lost.into_inner().expect("no client panicked");
    for id in &lost {
        let line = format!("\"request_id\":\"{id}\"");
        assert!(id.starts_with("keeps") && !logs.iter().any(|log| log.contains(&line)), "{id} has no answer");
    }
    let [good, exhausted, draining] =
        [answers.good, answers.exhausted, answers.draining].map(AtomicUsize::into_inner);
    eprintln!("{good} good, {exhausted} over the budget, {draining} told to come again, {lost:?} unread");
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!(counts["refused"], 0, "{counts}");
    assert!(counts["max_in_any_window"].as_u64().is_some_and(|most| most <= 40), "{counts}");
}

#[test]
fn a_rolling_restart_loses_no_call_and_no_answer_where_windows_are_fixed() {
    rolling_restart(Windows::Fixed);
}

#[test]
fn a_rolling_restart_loses_no_call_and_no_answer_where_windows_slide() {
    rolling_restart(Windows::Sliding);
}
