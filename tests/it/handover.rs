//! Tests of handover: a process takes over from another one, and callers are served throughout.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::support::{
    Config, Connection, Folder, Gateway, Outcomes, PUSH, Request, Stub, Tokens, wait_for, wait_until,
};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// A configuration on addresses that were free just now, with its state in this folder.
fn shared(vendor: &Stub, state: &Folder) -> Config {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [listener, admin] = held.map(|held| held.local_addr().expect("an address"));
    let mut config = Config::new(&vendor.url());
    config.listeners = format!("{{ address: \"{listener}\" }}");
    config.admin_address = admin.to_string();
    config.workers = 2;
    config.budgets = "push: { limit: 1000000 }".into();
    config.more = format!("state_file: \"{}\"", state.path().join("state").display());
    config
}

/// The answer of `/readyz` from this process, not from the other one on the same port.
fn readiness(gateway: &Gateway) -> (u16, String) {
    let own = format!("\nprocess {}\n", gateway.program.id());
    wait_for("an answer of this process", || {
        let answer = gateway.page("/readyz");
        let text = answer.text();
        text.strip_suffix(&own).map(|word| (answer.status, word.to_owned()))
    })
}

fn address_of(config: &Config) -> SocketAddr {
    let quoted = config.listeners.split('"').nth(1).expect("an address in quotes");
    quoted.parse().expect("an address")
}

#[test]
fn a_successor_leaves_callers_to_the_owner_until_it_leaves() {
    let (vendor, state) = (Stub::good(), Folder::new());
    let config = shared(&vendor, &state);
    let mut first = Gateway::start(&config);
    assert_eq!(readiness(&first), (200, "ok".into()));
    let second = Gateway::start(&config);
    let waits = format!("waiting: process {} has the state file", first.program.id());
    assert_eq!(readiness(&second), (503, waits));
    assert_eq!(readiness(&first), (200, "ok".into()));
    let status = wait_for("its status", || {
        let status = second.status();
        (status["pid"] == second.program.id()).then_some(status)
    });
    assert_eq!((&status["state_file"], &status["ready"]), (&json!("waiting"), &json!(false)));
    let address = address_of(&config);
    for _ in 0..40 {
        assert_eq!(Connection::open(address).call(&push()).status, 200);
    }
    assert!(second.lines().is_empty(), "none of them came to the second one");
    first.program.signal("TERM");
    assert_eq!(first.program.wait().code(), Some(0), "{}", first.program.err());
    wait_until("the second has the file", || readiness(&second) == (200, "ok".into()));
    assert_eq!(Connection::open(address).call(&push()).status, 200);
    wait_until("its access line", || second.lines().len() == 1);
}

#[test]
fn the_second_in_line_waits_for_the_first() {
    let (vendor, state) = (Stub::good(), Folder::new());
    let config = shared(&vendor, &state);
    let mut first = Gateway::start(&config);
    let second = Gateway::start(&config);
    wait_until("the second stands in line", || readiness(&second).0 == 503);
    wait_until("it has the lock beside the file", || is_locked(&state.path().join("state.next")));
    let third = Gateway::start(&config);
    first.program.signal("TERM");
    assert_eq!(first.program.wait().code(), Some(0), "{}", first.program.err());
    wait_until("the second has the file", || readiness(&second).0 == 200);
    for _ in 0..20 {
        assert_eq!(Connection::open(address_of(&config)).call(&push()).status, 200);
    }
    assert!(third.lines().is_empty());
    // A killed process announces nothing; its successor takes over all the same.
    drop(second);
    wait_until("the third has the file", || readiness(&third).0 == 200);
    assert_eq!(Connection::open(address_of(&config)).call(&push()).status, 200);
}

fn is_locked(path: &std::path::Path) -> bool {
    std::fs::File::open(path).is_ok_and(|file| file.try_lock_shared().is_err())
}

#[test]
fn another_state_file_is_no_reason_to_share_an_address() {
    let (vendor, state, other) = (Stub::good(), Folder::new(), Folder::new());
    let mut config = shared(&vendor, &state);
    let first = Gateway::start(&config);
    config.more = format!("state_file: \"{}\"", other.path().join("state").display());
    let (code, err) = crate::support::start_failing(&Folder::new(), &config);
    assert!(code == 1 && err.contains("address in use"), "{err}");
    assert_eq!(first.call(&push()).status, 200);
}

/// Restarts as docs/budgets.md says: start the next process, and stop the former one when the next one waits.
fn restart_under_load(restarts: usize) {
    let (vendor, state) = (Stub::good(), Folder::new());
    let config = shared(&vendor, &state);
    let address = address_of(&config);
    let mut gateway = Gateway::start(&config);
    let outcomes = Outcomes::default();
    outcomes.during(address, || {
        for _ in 0..restarts {
            outcomes.wait_for_more();
            let next = Gateway::start(&config);
            assert_eq!(readiness(&next).0, 503);
            let mut former = std::mem::replace(&mut gateway, next);
            former.program.signal("TERM");
            assert_eq!(former.program.wait().code(), Some(0), "{}", former.program.err());
            wait_until("the next one is ready", || readiness(&gateway).0 == 200);
        }
    });
    outcomes.judge(&vendor, restarts);
}

#[test]
fn restarts_under_load_refuse_no_connection_and_lose_no_push() {
    restart_under_load(3);
}
