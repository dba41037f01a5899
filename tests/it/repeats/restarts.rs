//! Tests of `Idempotency-Key` over restarts of one process with a state file.

use super::*;
use crate::support::Folder;

fn with_state(vendor_url: &str, state: &Folder) -> Config {
    let mut config = Config::new(vendor_url);
    config.more = format!("state_file: \"{}\"", state.path().join("state").display());
    config
}

fn stopped(mut gateway: Gateway, signal: &str) {
    gateway.program.signal(signal);
    gateway.program.wait();
}

#[test]
fn an_answer_is_given_again_after_a_restart() {
    for signal in ["TERM", "KILL"] {
        let (vendor, state) = (Simulator::start(), Folder::new());
        let config = with_state(&vendor.url(), &state);
        let first = Gateway::start(&config);
        let sent = first.call(&keyed("order-1"));
        assert_eq!(sent.status, 200, "{}", sent.text());
        stopped(first, signal);
        // The end of a process that was killed can cut its last line.
        let keys = state.path().join("state.keys");
        let mut text = std::fs::read_to_string(&keys).expect("the file of the keys");
        assert!(!text.contains("order-1") && !text.contains("anna"), "{text}");
        text.push_str(r#"{"is":"sent","key":"#);
        std::fs::write(&keys, text).expect("written");
        let second = Gateway::start(&config);
        let again = second.call(&keyed("order-1"));
        assert_eq!((again.status, &again.body, delivered(&vendor)), (200, &sent.body, 1), "{signal}");
        assert!(replays(&second, "idempotency-key") > 0.5);
        let other = Request::post("/v3/grouppush", PUSH).bearer(Tokens::ORDERS);
        second.call(&other.header("Idempotency-Key", "order-1")).assert_refused(
            422,
            "idempotency-conflict",
            1003,
        );
        assert_eq!((second.call(&keyed("order-2")).status, delivered(&vendor)), (200, 2));
        stopped(second, "KILL");
        // Behind a cut line, and at the third process.
        let third = Gateway::start(&config);
        assert_eq!(third.call(&keyed("order-1")).body, sent.body);
        assert_eq!((third.call(&keyed("order-2")).status, delivered(&vendor)), (200, 2));
    }
}

#[test]
fn a_push_that_a_killed_process_sent_goes_again_with_its_cid_or_not_at_all() {
    let state = Folder::new();
    let vendor =
        vendor(|talk, number, _| if number <= 2 { talk.wait_for_end() } else { answer_number(talk, number) });
    let config = with_state(&vendor.url(), &state);
    let first = Gateway::start(&config);
    let group =
        Request::post("/v3/grouppush", PUSH).bearer(Tokens::ORDERS).header("Idempotency-Key", "group-1");
    let connections = [keyed("order-1"), group.clone()].map(|request| {
        let mut connection = first.connect();
        connection.send(request.bytes());
        connection
    });
    crate::support::wait_until("both are sent", || pushes(&vendor).len() == 2);
    stopped(first, "KILL");
    drop(connections);
    let second = Gateway::start(&config);
    second.call(&group).assert_refused(502, "vendor-interrupted", 1030);
    let again = second.call(&keyed("order-1"));
    assert_eq!(again.status, 200, "{}", again.text());
    let sent = pushes(&vendor);
    let cids: Vec<_> = sent.iter().map(cid_of).filter(|cid| !cid.is_empty()).collect();
    assert_eq!((sent.len(), cids.len()), (3, 2), "{cids:?}");
    assert_eq!(cids[0], cids[1]);
}

#[test]
fn what_had_no_effect_uses_no_key_up_after_a_restart() {
    let (vendor, state) = (Simulator::start(), Folder::new());
    let config = with_state(&vendor.url(), &state);
    let first = Gateway::start(&config);
    vendor.fault(r#"{"operation":"push","times":1,"kind":"status","status":429}"#);
    assert_eq!(first.call(&keyed("order-1")).status, 429);
    stopped(first, "TERM");
    let second = Gateway::start(&config);
    assert_eq!((second.call(&keyed("order-1")).status, delivered(&vendor)), (200, 1));
}

#[test]
fn keys_that_cannot_be_written_are_told_of_and_stop_no_call() {
    let (vendor, state) = (Simulator::start(), Folder::new());
    std::fs::create_dir(state.path().join("state.keys")).expect("a folder in place of the file");
    let gateway = Gateway::start(&with_state(&vendor.url(), &state));
    gateway.log_line(&["ERROR", "keys of calls cannot be written"]);
    assert_eq!((gateway.call(&keyed("order-1")).status, delivered(&vendor)), (200, 1));
    assert_eq!((gateway.call(&keyed("order-1")).status, delivered(&vendor)), (200, 1));
}
