//! Tests of budgets in the running gateway; the vendor's simulator checks that no window is overrun.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jpush_gateway::sandbox::Windows;

use crate::support::{Answer, Config, Connection, Gateway, Keys, PUSH, Request, Simulator, Stub, Tokens};

fn tags() -> Request {
    Request::get("/v3/tags").bearer(Tokens::ORDERS)
}

fn start(budgets: &str, windows: Windows) -> (Gateway, Simulator) {
    let vendor = Simulator::with(budgets, windows);
    let mut config = Config::new(&vendor.url());
    config.budgets = budgets.into();
    config.workers = 2;
    (Gateway::start(&config), vendor)
}

#[track_caller]
fn assert_exhausted(answer: &Answer, reason: &str) -> u64 {
    answer.assert_refused(429, reason, 2002);
    let wait = answer.number("Retry-After");
    assert!(wait >= 1);
    wait
}

/// Many callers at once over several windows: the vendor never refuses, and never counts one call too many.
fn storm(windows: Windows) {
    let (gateway, vendor) = start("device: { limit: 5, window: 1s }", windows);
    // With slow answers, the vendor counts a call long before the gateway knows it.
    vendor.fault(r#"{"operation":"tag-list","times":3,"kind":"delay","delay":"300ms"}"#);
    vendor.fault(r#"{"operation":"device-get","times":2,"kind":"delay","delay":"150ms"}"#);
    let (good, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (gateway, good, refused) = (&gateway, &good, &refused);
            scope.spawn(move || {
                let mut connection = gateway.connect();
                let path = if number % 2 == 0 { "/v3/tags" } else { "/v3/devices/r1" };
                let token = if number % 3 == 0 { Tokens::BOTH } else { Tokens::ORDERS };
                for _ in 0..60 {
                    let answer = connection.call(&Request::get(path).basic("shop", token));
                    let outcome = if answer.status == 200 { good } else { refused };
                    outcome.fetch_add(1, Ordering::Relaxed);
                    if answer.status != 200 {
                        assert_exhausted(&answer, "budget-exhausted");
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    let (good, refused) = (good.into_inner(), refused.into_inner());
    assert!(good >= 10 && refused > 0, "{good} good, {refused} refused");
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!((&counts["refused"], &counts["total"]), (&0.into(), &good.into()), "{counts}");
    assert!(counts["max_in_any_window"].as_u64().is_some_and(|most| most <= 5), "{counts}");
}

#[test]
fn the_vendor_with_fixed_windows_never_refuses() {
    storm(Windows::Fixed);
}

#[test]
fn the_vendor_with_sliding_windows_never_refuses() {
    storm(Windows::Sliding);
}

/// Uses up a window, waits as `Retry-After` says, and must then be served.
fn wait_as_told(windows: Windows) {
    let (gateway, vendor) = start("device: { limit: 2, window: 1s }", windows);
    let mut connection = gateway.connect();
    for round in 0..2 {
        for _ in 0..2 {
            assert_eq!(connection.call(&tags()).status, 200, "round {round}");
        }
        let wait = assert_exhausted(&connection.call(&tags()), "budget-exhausted");
        std::thread::sleep(Duration::from_secs(wait));
    }
    assert_eq!(connection.call(&tags()).status, 200);
    assert_eq!(vendor.counts(Keys::SHOP_APP, "device")["refused"], 0);
}

#[test]
fn a_lone_caller_that_waits_as_told_is_admitted() {
    wait_as_told(Windows::Fixed);
}

#[test]
fn so_it_is_where_windows_slide() {
    wait_as_told(Windows::Sliding);
}

#[test]
fn a_budget_is_one_for_all_its_operations_and_callers_and_for_its_key_alone() {
    let (gateway, vendor) = start("push: { limit: 3, window: 1h }", Windows::Fixed);
    let call = |request: Request, tenant: &str, token: &str| gateway.call(&request.basic(tenant, token));
    assert_eq!(call(Request::post("/v3/push", PUSH), "shop", Tokens::ORDERS).status, 200);
    assert_eq!(call(Request::get("/v3/push/cid"), "shop", Tokens::BOTH).status, 200);
    let urls = r#"{"image_type":1,"image_url":"https://x.example/y.jpg"}"#;
    assert_eq!(call(Request::post("/v3/images/byurls", urls), Keys::SHOP_APP, Tokens::ORDERS).status, 200);
    for token in [Tokens::ORDERS, Tokens::BOTH, Tokens::PUSHER] {
        let answer = call(Request::post("/v3/push/validate", PUSH), "shop", token);
        let wait = assert_exhausted(&answer, "budget-exhausted");
        assert!((3_000..=3_601).contains(&wait), "{wait}");
    }
    // Another budget, another credential and another tenant still have slots.
    assert_eq!(call(Request::get("/v3/tags"), "shop", Tokens::ORDERS).status, 200);
    assert_eq!(call(Request::post("/v3/grouppush", PUSH), "shop", Tokens::ORDERS).status, 200);
    assert_eq!(call(Request::post("/v3/push", PUSH), "market", Tokens::BOTH).status, 200);
    assert_eq!(vendor.counts(Keys::SHOP_APP, "push")["total"], 3);
    assert_eq!(vendor.journal().len(), 6, "refusals are never sent");
}

#[test]
fn two_tenants_with_one_key_share_its_budgets() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.budgets = "device: { limit: 2, window: 1h }".into();
    let twin = format!("{{ app: {{ key: {}, secret: {{ env: SHOP_APP_SECRET }} }} }}", Keys::SHOP_APP);
    config.others.push(("twin", twin));
    let gateway = Gateway::start(&config);
    let call = |tenant: &str| gateway.call(&Request::get("/v3/tags").basic(tenant, Tokens::ORDERS));
    assert_eq!((call("shop").status, call("twin").status), (200, 200));
    assert_exhausted(&call("shop"), "budget-exhausted");
    assert_exhausted(&call("twin"), "budget-exhausted");
}

#[test]
fn a_caller_over_its_quota_is_told_so_and_leaves_the_budget_to_others() {
    let vendor = Simulator::start();
    let mut config = Config::new(&vendor.url());
    config.orders = "quota: { limit: 2, window: 1h, burst: 2 }".into();
    let gateway = Gateway::start(&config);
    for _ in 0..2 {
        assert_eq!(gateway.call(&tags()).status, 200);
    }
    let answer = gateway.call(&tags());
    let wait = assert_exhausted(&answer, "quota-exhausted");
    assert!((3_590..=3_600).contains(&wait), "an hour after the first answer: {wait}");
    assert_eq!(answer.number("X-Rate-Limit-Remaining"), 598, "the tenant's budget is not touched");
    assert_eq!(gateway.call(&Request::get("/v3/tags").basic("shop", Tokens::BOTH)).status, 200);
}

#[test]
fn a_quota_waited_for_as_told_is_there() {
    let vendor = Simulator::start();
    let mut config = Config::new(&vendor.url());
    config.orders = "quota: { limit: 1, window: 2s, burst: 1 }".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&tags()).status, 200);
    let wait = assert_exhausted(&gateway.call(&tags()), "quota-exhausted");
    std::thread::sleep(Duration::from_secs(wait));
    assert_eq!(gateway.call(&tags()).status, 200);
}

#[test]
fn pacing_lets_a_burst_through_and_spreads_the_rest() {
    let vendor = Simulator::start();
    let mut config = Config::new(&vendor.url());
    config.budgets = "device: { limit: 600, window: 1h, burst: 3 }".into();
    let gateway = Gateway::start(&config);
    let statuses: Vec<u16> = (0..4).map(|_| gateway.call(&tags()).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let answer = gateway.call(&tags());
    let wait = assert_exhausted(&answer, "budget-exhausted");
    assert!((1..=6).contains(&wait), "one every 6 s: {wait}");
    assert_eq!(answer.number("X-Rate-Limit-Remaining"), 597);
}

#[test]
fn rate_headers_are_on_every_answer_of_a_budgeted_call() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.budgets = "device: { limit: 2, window: 1m }".into();
    let gateway = Gateway::start(&config);
    let rows = [(200, "1"), (200, "0"), (429, "0")];
    for (status, remaining) in rows {
        let answer = gateway.call(&tags());
        assert_eq!(answer.status, status);
        for (name, value) in [
            ("X-Rate-Limit-Limit", "2"),
            ("X-Rate-Limit-Quota", "2"),
            ("X-Rate-Limit-Remaining", remaining),
            ("Ratelimit-Policy", "\"device\";q=2;w=60"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
        let reset = answer.number("X-Rate-Limit-Reset");
        assert!((55..=61).contains(&reset), "{reset}");
        let standing = answer.header("Ratelimit").expect("RateLimit");
        assert!(standing.starts_with(&format!("\"device\";r={remaining};t=")), "{standing}");
    }
    // No rate headers if nothing is budgeted or the operation is unknown.
    for request in
        [Request::get("/"), Request::get("/v3/tags"), Request::get("/v3/no").bearer(Tokens::ORDERS)]
    {
        let answer = gateway.call(&request);
        assert!(!answer.has("X-Rate-Limit-Limit") && !answer.has("Ratelimit"), "{answer:?}");
    }
}

#[test]
fn refusals_cost_nothing() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.limits = "json_body: 1KiB, batch_body: 1KiB".into();
    let gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    let requests = [
        Request::get("/v3/push").bearer(Tokens::ORDERS),
        Request::post("/v3/push", PUSH).bearer("wrong"),
        Request::post("/v3/push", PUSH).basic("market", Tokens::ORDERS),
        Request::post("/v3/files/x", PUSH).basic("shop", Tokens::PUSHER),
        Request::post("/v3/push", &"x".repeat(1_025)).bearer(Tokens::ORDERS),
    ];
    for request in &requests {
        assert!(connection.call(request).status >= 400);
        connection = gateway.connect();
    }
    assert_eq!(gateway.used("app", "push") + gateway.used("app", "file"), 0);
    assert!(vendor.requests().is_empty());
}

#[test]
fn a_call_on_its_way_holds_its_slot() {
    let vendor = Stub::start(|talk| {
        while talk.read_request().is_some() {
            talk.wait_for_end();
        }
    });
    let mut config = Config::new(&vendor.url());
    config.budgets = "device: { limit: 1, window: 1s }".into();
    let gateway = Gateway::start(&config);
    let mut first = gateway.connect();
    first.send(tags().bytes());
    vendor.wait_for_requests(1);
    let wait = assert_exhausted(&gateway.call(&tags()), "budget-exhausted");
    // Computed as if the call took its full time: connect, response, guard and a window.
    assert!((38..=45).contains(&wait), "{wait}");
    assert_eq!(gateway.used("app", "device"), 1);
    drop::<Connection>(first);
}

#[test]
fn a_refusal_says_when_it_is_the_vendor_who_allows_less() {
    let rate = |limit: u32, remaining: u32| {
        format!(
            "X-Rate-Limit-Limit: {limit}\r\nX-Rate-Limit-Remaining: {remaining}\r\nX-Rate-Limit-Reset: 60\r\n"
        )
    };
    let answer = |status: &str, rate: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{rate}Content-Length: 2\r\n\r\n{{}}")
    };
    let rows = [
        (answer("200 OK", &rate(2, 1)), vec![200, 200], "because the vendor allows this key 2 at present"),
        (
            answer("200 OK", &rate(60, 0)),
            vec![200],
            "the vendor says that nothing is left of the push budget of 60 calls",
        ),
        (answer("429 Too Many Requests", ""), vec![429], "the vendor says that nothing is left"),
    ];
    for (answer, statuses, why) in rows {
        let vendor = Stub::answering(answer);
        let mut config = Config::new(&vendor.url());
        config.budgets = "push: { limit: 60, window: 60s }".into();
        let gateway = Gateway::start(&config);
        let mut connection = gateway.connect();
        let push = Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS);
        for status in statuses {
            assert_eq!(connection.call(&push).status, status, "{why}");
        }
        let refused = connection.call(&push);
        refused.assert_refused(429, "budget-exhausted", 2002);
        assert!(refused.text().contains(why), "{}", refused.text());
    }
    // Without rate headers from the vendor, the message names the gateway's own budget.
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.budgets = "push: { limit: 1, window: 60s }".into();
    let gateway = Gateway::start(&config);
    let push = Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&push).status, 200);
    let refused = gateway.call(&push);
    assert!(
        refused.text().contains("the push budget of 1 calls in 1m is used up; nothing was sent"),
        "{}",
        refused.text()
    );
}
