//! Waiting for a budget, and what the vendor's own numbers do to one.

use jpush_gateway::sandbox::Windows;

use crate::support::{Config, Connection, Gateway, Keys, Request, Simulator, Tokens, wait_until};

fn tags(token: &str) -> Request {
    Request::get("/v3/tags").bearer(token)
}

fn start(budgets: &str, orders: &str) -> (Gateway, Simulator) {
    let vendor = Simulator::with(budgets, Windows::Sliding);
    let mut config = Config::new(&vendor.url());
    config.budgets = budgets.into();
    config.orders = orders.into();
    config.workers = 2;
    (Gateway::start(&config), vendor)
}

#[test]
fn a_request_that_prefers_to_wait_is_served_when_a_slot_frees() {
    let (gateway, vendor) = start("device: { limit: 1, window: 2s }", "");
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&tags(Tokens::ORDERS)).status, 200);
    let refused = connection.call(&tags(Tokens::ORDERS));
    refused.assert_refused(429, "budget-exhausted", 2002);
    assert_eq!(refused.header("Preference-Applied"), None);
    let served = connection.call(&tags(Tokens::ORDERS).header("Prefer", "wait=10"));
    assert_eq!((served.status, served.header("Preference-Applied")), (200, Some("wait=10")));
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!((&counts["total"], &counts["refused"]), (&2.into(), &0.into()));
    let waits = gateway.metric("jpush_gateway_budget_wait_seconds_count{budget=\"device\"}");
    assert!((waits - 1.0).abs() < 0.5, "{waits}");
}

#[test]
fn a_request_that_cannot_be_served_in_time_is_refused_at_once() {
    let (gateway, _vendor) = start("device: { limit: 1, window: 1h }", "");
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&tags(Tokens::ORDERS)).status, 200);
    let refused = connection.call(&tags(Tokens::ORDERS).header("Prefer", "wait=20"));
    refused.assert_refused(429, "budget-exhausted", 2002);
    assert_eq!(refused.header("Preference-Applied"), Some("wait=20"));
}

#[test]
fn a_caller_can_wait_by_its_configuration_and_a_request_can_say_otherwise() {
    let (gateway, _vendor) = start("device: { limit: 1, window: 2s }", "wait: 10s");
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&tags(Tokens::ORDERS)).status, 200);
    assert_eq!(connection.call(&tags(Tokens::ORDERS).header("Prefer", "wait=0")).status, 429);
    assert_eq!(connection.call(&tags(Tokens::BOTH).header("X-JPush-Tenant", "shop")).status, 429);
    assert_eq!(connection.call(&tags(Tokens::ORDERS)).status, 200);
}

/// Twelve requests of two callers over three slots a window, all waiting: the vendor never refuses, everybody is
/// served.
#[test]
fn everybody_who_waits_is_served_and_the_vendor_never_refuses() {
    let (gateway, vendor) = start("device: { limit: 3, window: 1s }", "");
    std::thread::scope(|scope| {
        for number in 0..12 {
            let gateway = &gateway;
            scope.spawn(move || {
                let token = if number % 3 == 0 { Tokens::BOTH } else { Tokens::ORDERS };
                let request = tags(token).header("X-JPush-Tenant", "shop").header("Prefer", "wait=20");
                assert_eq!(gateway.connect().call(&request).status, 200);
            });
        }
    });
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!((&counts["total"], &counts["refused"]), (&12.into(), &0.into()), "{counts}");
}

#[test]
fn a_request_that_hangs_up_leaves_the_queue() {
    let (gateway, vendor) = start("device: { limit: 1, window: 5s }", "");
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&tags(Tokens::ORDERS)).status, 200);
    let mut leaving = gateway.connect();
    leaving.send(tags(Tokens::ORDERS).header("Prefer", "wait=20").bytes());
    let waiting = || gateway.status()["tenants"]["shop"]["app"]["budgets"]["device"]["waiting"].clone();
    wait_until("one request waits", || waiting() == 1);
    drop(leaving);
    wait_until("nobody waits", || waiting() == 0);
    assert_eq!(vendor.counts(Keys::SHOP_APP, "device")["total"], 1);
}

#[test]
fn a_drain_answers_who_waits() {
    let (gateway, _vendor) = start("device: { limit: 1, window: 20s }", "");
    assert_eq!(gateway.connect().call(&tags(Tokens::ORDERS)).status, 200);
    let mut waiting = gateway.connect();
    waiting.send(tags(Tokens::ORDERS).header("Prefer", "wait=22").bytes());
    wait_until("it waits", || {
        gateway.status()["tenants"]["shop"]["app"]["budgets"]["device"]["waiting"] == 1
    });
    gateway.program.signal("TERM");
    waiting.read_answer().assert_refused(503, "draining", 1030);
}

/// Somebody else uses the same key: the vendor's numbers say so, and our budget shrinks before the vendor refuses.
#[test]
fn foreign_calls_of_the_key_are_seen_and_respected() {
    let (gateway, vendor) = start("device: { limit: 10, window: 1m }", "");
    for _ in 0..6 {
        let stranger = Request::get("/v3/tags").basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET);
        assert_eq!(Connection::open(vendor.address).call(&stranger).status, 200);
    }
    let mut connection = gateway.connect();
    let statuses: Vec<u16> = (0..6).map(|_| connection.call(&tags(Tokens::ORDERS)).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    assert_eq!(vendor.counts(Keys::SHOP_APP, "device")["refused"], 0);
    let series = "jpush_gateway_budget_foreign_used{budget=\"device\",credential=\"app\",tenant=\"shop\"}";
    let foreign = gateway.metric(series);
    assert!((foreign - 6.0).abs() < 0.5, "{foreign}");
}
