//! Tests of calls that wait for one budget while they hold a slot of another in the store, where slots expire.

use std::time::Duration;

use jpush_gateway::sandbox::Windows;

use crate::support::{Config, Gateway, Keys, Redis, Request, Simulator, Tokens, wait_until};

fn schedule(audience: &str) -> Request {
    let body = format!(
        r#"{{"name":"later","trigger":{{"single":{{"time":"2099-01-01 12:00:00"}}}},
            "push":{{"platform":"all","audience":{audience},"notification":{{"alert":"Hello"}}}}}}"#
    );
    Request::post("/v3/schedules", &body).bearer(Tokens::ORDERS)
}

fn plain() -> Request {
    schedule(r#"{"alias":["anna"]}"#)
}

/// A request that takes a slot of `file` and then one of `schedule`.
fn to_a_list() -> Request {
    let audience = r#"{"file":{"file_id":"e61b4d98b57de4ff4a0d3a11-5a2ff3b3-8fb2-4d2a-9c6b-0d2b9ab2fd53"}}"#;
    schedule(audience).header("Prefer", "wait=12")
}

fn files() -> Request {
    Request::get("/v3/files").bearer(Tokens::ORDERS)
}

/// A replica with all budgets in the store, and attempts of 1.5 s.
fn started(budgets: &str) -> (Redis, Simulator, Gateway) {
    let (redis, vendor) = (Redis::start(), Simulator::with(budgets, Windows::Sliding));
    let mut config = Config::new(&vendor.url());
    config.budgets = budgets.into();
    config.vendor = "connect_timeout: 500ms, response_timeout: 1s".into();
    config.guard = "500ms";
    let sharing = "local_share: 0%, replicas: 1";
    config.more = format!("shared_budgets: {{ redis: {{ url: \"{}\", {sharing} }} }}", redis.url());
    let gateway = Gateway::start(&config);
    // Both budgets are held back at first, because the store does not know them yet.
    wait_until("a slot of files", || gateway.call(&files()).status == 200);
    wait_until("a slot of schedules", || gateway.call(&plain()).status == 200);
    (redis, vendor, gateway)
}

fn never_too_many(vendor: &Simulator, budgets: &[&str]) {
    for budget in budgets {
        let counts = vendor.counts(Keys::SHOP_APP, budget);
        assert_eq!(counts["refused"], 0, "{budget}: {counts}");
        assert!(counts["max_in_any_window"].as_u64().is_some_and(|most| most <= 1), "{budget}: {counts}");
    }
}

#[test]
fn a_call_has_its_whole_time_however_long_its_slot_was_set_aside() {
    let (_redis, vendor, gateway) =
        started("schedule: { limit: 1, window: 3s }, file: { limit: 1, window: 3s }");
    vendor.fault(r#"{"operation":"schedule-create","kind":"delay","delay":"500ms"}"#);
    // The schedule before was sent just now, so this call waits longer than an attempt lasts.
    let answer = gateway.call(&to_a_list());
    assert_eq!(answer.status, 200, "{}", answer.text());
    never_too_many(&vendor, &["schedule", "file"]);
}

#[test]
fn a_slot_that_ended_while_it_was_set_aside_is_asked_for_again() {
    // A slot of `file` expires after 2.5 s.
    let (_redis, vendor, gateway) =
        started("schedule: { limit: 1, window: 5s }, file: { limit: 1, window: 500ms }");
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(matches!(gateway.call(&files()).status, 200 | 429));
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        let answer = gateway.call(&to_a_list());
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
    });
    never_too_many(&vendor, &["schedule", "file"]);
}
