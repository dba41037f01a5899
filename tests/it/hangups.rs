//! Tests of callers that disconnect: they close the whole connection, or only their sending side. Bytes after a request
//! do not prove that its caller waits for the answer.
//!
//! The gateway has one worker, so it notices a disconnect before it reads what another connection sent after that.

use jpush_gateway::sandbox::Windows;

use crate::support::{
    Authority, Config, Connection, Folder, Gateway, PUSH, Request, Simulator, Stub, Tokens, json_answer,
    tls_connect, wait_until,
};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

fn tags() -> Request {
    Request::get("/v3/tags").bearer(Tokens::ORDERS)
}

/// A vendor that answers each request late, with its number.
fn late() -> Stub {
    let number = std::sync::atomic::AtomicUsize::new(0);
    Stub::start(move |talk| {
        while talk.read_request().is_some() {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            std::thread::sleep(std::time::Duration::from_millis(400));
            talk.write(json_answer("200 OK", &format!(r#"{{"msg_id":"{number}"}}"#)));
        }
    })
}

fn pushes(vendor: &Stub) -> usize {
    vendor.requests().iter().filter(|request| request.line.starts_with("POST")).count()
}

/// Bytes that can follow a whole request when its caller disconnects.
fn behind() -> Vec<(&'static str, Vec<u8>)> {
    let half = push().bytes();
    vec![
        ("nothing", Vec::new()),
        ("an empty line", b"\r\n".to_vec()),
        ("half a line end", b"\r".to_vec()),
        ("a probe", Request::get("/").bytes()),
        ("a request", tags().bytes()),
        ("half a push", half[..half.len() - 5].to_vec()),
        ("more than is read ahead", tags().bytes().repeat(200)),
    ]
}

type End = fn(Connection);

const ENDS: [(&str, End); 2] = [("closes", drop::<Connection>), ("resets", Connection::reset)];

/// Runs each way to disconnect after each kind of bytes, all at once, with a gateway for each.
fn each(case: impl Fn(&str, &[u8], End) + Sync) {
    std::thread::scope(|scope| {
        for (what, behind) in behind() {
            for (how, end) in ENDS {
                let (case, behind) = (&case, behind.clone());
                scope.spawn(move || case(&format!("{how} with {what} behind it"), &behind, end));
            }
        }
    });
}

#[test]
fn a_caller_that_leaves_and_comes_again_pushes_once() {
    each(|what, behind, end| {
        let vendor = late();
        let gateway = Gateway::start(&Config::new(&vendor.url()));
        let mut connection = gateway.connect();
        connection.send([&push().bytes(), behind].concat());
        vendor.wait_for_requests(1);
        end(connection);
        // On a busy machine the second push can be read before the end of the first connection.
        wait_until("the end is noticed", || gateway.metric("jpush_gateway_connections") < 0.5);
        let answer = gateway.call(&push());
        assert_eq!(answer.json()["msg_id"], "1", "{what}");
        assert_eq!(pushes(&vendor), 1, "{what}");
    });
}

#[test]
fn a_caller_that_leaves_the_queue_is_not_served_later() {
    each(|what, behind, end| {
        let vendor = Simulator::with("device: { limit: 1, window: 4s }", Windows::Sliding);
        let mut config = Config::new(&vendor.url());
        config.budgets = "device: { limit: 1, window: 4s }".into();
        let gateway = Gateway::start(&config);
        assert_eq!(gateway.call(&tags()).status, 200);
        let mut leaving = gateway.connect();
        let waits = Request::get("/v3/aliases/gone").bearer(Tokens::ORDERS).header("Prefer", "wait=10");
        leaving.send([&waits.bytes(), behind].concat());
        let waiting = "jpush_gateway_budget_waiting{budget=\"device\",credential=\"app\",tenant=\"shop\"}";
        if behind.len() < 8_000 {
            wait_until("it waits", || gateway.metric(waiting) > 0.5);
        }
        end(leaving);
        wait_until("nobody waits", || gateway.metric(waiting) < 0.5);
        assert_eq!(gateway.call(&tags().header("Prefer", "wait=10")).status, 200, "{what}");
        let journal = vendor.journal();
        assert!(!journal.iter().any(|line| line["path"] == "/v3/aliases/gone"), "{what}: {journal:?}");
    });
}

#[test]
fn a_caller_that_ends_its_side_gets_its_answer() {
    let vendor = late();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    for (number, request) in [push(), push().body(PUSH.replace("anna", "boris")), tags()].iter().enumerate() {
        let mut connection = gateway.connect();
        connection.send(request.bytes());
        connection.finish_writing();
        let answer = connection.read_answer();
        assert_eq!(answer.json()["msg_id"], (number + 1).to_string().as_str());
        assert_eq!(answer.header("Connection"), Some("close"), "there is nothing more to come");
        assert!(connection.ends());
    }
    assert_eq!(vendor.requests().len(), 3);
    // Requests that the gateway answers itself get their answers, too.
    for (request, status) in [(Request::get("/"), 200), (Request::get("/v3/nothing"), 401)] {
        let mut connection = gateway.connect();
        connection.send(request.bytes());
        connection.finish_writing();
        assert_eq!(connection.read_answer().status, status);
    }
}

/// Safe requests do no harm if their caller is gone; a push after an end of input may have been sent elsewhere by then.
#[test]
fn behind_an_end_only_safe_requests_are_begun() {
    let vendor = late();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut connection = gateway.connect();
    let other = push().body(PUSH.replace("anna", "boris")).bytes();
    connection.send([push().bytes(), b"\r\n".to_vec(), tags().bytes(), other, tags().bytes()].concat());
    connection.finish_writing();
    let first = connection.read_answer();
    assert_eq!((first.json()["msg_id"].as_str(), first.header("Connection")), (Some("1"), None));
    let second = connection.read_answer();
    assert_eq!((second.json()["msg_id"].as_str(), second.header("Connection")), (Some("2"), Some("close")));
    assert!(connection.ends());
    assert_eq!(vendor.requests().len(), 2);
}

#[test]
fn a_side_is_ended_over_tls_as_well() {
    let (authority, folder, vendor) = (Authority::new(), Folder::new(), late());
    let (certificate, key) = authority.sign(&["localhost"]);
    folder.write("a.crt", &certificate);
    folder.write("a.key", key);
    let mut config = Config::new(&vendor.url());
    config.listeners =
        "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: a.crt, private_key: a.key } ] } }"
            .into();
    let gateway = Gateway::start_in(folder, &config);
    let client = authority.client(&[]);
    let mut tls = tls_connect(&client, gateway.listeners[0], "localhost").expect("a handshake").connection;
    tls.send(push().bytes());
    tls.end_tls();
    assert_eq!(tls.read_answer().json()["msg_id"], "1");
    // A caller that disconnects is recognised when it sends the push again.
    let again = Request::post("/v3/push", &PUSH.replace("anna", "boris")).bearer(Tokens::ORDERS);
    let mut tls = tls_connect(&client, gateway.listeners[0], "localhost").expect("a handshake").connection;
    tls.send([again.bytes(), b"\r\n".to_vec()].concat());
    vendor.wait_for_requests(2);
    drop(tls);
    let mut tls = tls_connect(&client, gateway.listeners[0], "localhost").expect("a handshake").connection;
    assert_eq!(tls.call(&again).json()["msg_id"], "2");
    assert_eq!(pushes(&vendor), 2);
}

/// A caller that only ends its sending side looks like one that has gone, so it is refused at once instead of being
/// queued.
#[test]
fn a_caller_that_waits_and_ends_its_side_is_refused_at_once() {
    let vendor = Simulator::with("device: { limit: 1, window: 20s }", Windows::Sliding);
    let mut config = Config::new(&vendor.url());
    config.budgets = "device: { limit: 1, window: 20s }".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&tags()).status, 200);
    let mut connection = gateway.connect();
    connection.send(tags().header("Prefer", "wait=22").bytes());
    connection.finish_writing();
    let answer = connection.read_answer();
    answer.assert_refused(429, "budget-exhausted", 2002);
    assert!(answer.number("Retry-After") > 0);
    assert!(connection.ends());
}

/// Bytes sent before an answer was readable do not show that the answer arrived.
#[test]
fn a_request_that_was_there_before_the_answer_does_not_confirm_it() {
    let number = std::sync::atomic::AtomicUsize::new(0);
    let vendor = Stub::start(move |talk| {
        while talk.read_request().is_some() {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            talk.write(json_answer("200 OK", &format!(r#"{{"msg_id":"{number}"}}"#)));
        }
    });
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let mut connection = gateway.connect();
    let answers = [push().bytes(), Request::get("/").bytes()].concat();
    connection.send(answers);
    wait_until("both are answered", || gateway.lines().len() >= 2);
    connection.reset();
    wait_until("the gateway notices", || gateway.metric("jpush_gateway_connections") < 0.5);
    assert_eq!(gateway.call(&push()).json()["msg_id"], "1");
    assert_eq!(pushes(&vendor), 1);
}
