//! Tests of queueing for a budget, and of the vendor's rate headers.

use jpush_gateway::sandbox::Windows;

use crate::support::{Config, Connection, Gateway, Keys, Request, Simulator, Tokens, wait_until};

/// Requests that queue for the device budget of the tenant shop.
const WAITING: &str = "jpush_gateway_budget_waiting{budget=\"device\",credential=\"app\",tenant=\"shop\"}";

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

/// Twelve requests of two callers queue for three slots per window: the vendor never refuses, and everybody is served.
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

/// Schedules to a target list need two budgets. Calls that queue for only one of them must not block these, nor the
/// other way round: every free slot is used.
#[test]
fn calls_over_two_budgets_and_calls_over_one_of_them_are_all_served() {
    let budgets = "schedule: { limit: 2, window: 1s }, file: { limit: 2, window: 1s }";
    let (gateway, vendor) = start(budgets, "");
    let schedule = |audience: &str| {
        let push =
            format!(r#"{{"platform":"all","audience":{audience},"notification":{{"alert":"Hello"}}}}"#);
        let trigger = r#"{"single":{"time":"2099-01-01 00:00:00"}}"#;
        let body = format!(r#"{{"name":"x","enabled":true,"trigger":{trigger},"push":{push}}}"#);
        Request::post("/v3/schedules", &body).bearer(Tokens::ORDERS)
    };
    let plain = schedule(r#"{"alias":["anna"]}"#);
    let file = Request::get("/v3/files").bearer(Tokens::ORDERS);
    let both =
        schedule(r#"{"file":{"file_id":"e61b4d98b57de4ff4a0d3a11-5a2ff3b3-8fb2-4d2a-9c6b-0d2b9ab2fd53"}}"#);
    for _ in 0..2 {
        for filler in [&plain, &file].into_iter().cycle().take(4) {
            assert_eq!(gateway.connect().call(&filler.clone().header("Prefer", "wait=8")).status, 200);
        }
        let waiting = [(2, &both), (3, &plain), (3, &file)];
        std::thread::scope(|scope| {
            for request in
                waiting.into_iter().flat_map(|(count, request)| std::iter::repeat_n(request, count))
            {
                let gateway = &gateway;
                scope.spawn(move || {
                    let answer = gateway.connect().call(&request.clone().header("Prefer", "wait=8"));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                });
            }
        });
    }
    // After six seconds of queueing, the CPU time shows that waiting calls sleep.
    let busy = gateway.metric("process_cpu_seconds_total");
    assert!(busy < 2.0, "{busy} s of CPU");
    for budget in ["schedule", "file"] {
        assert_eq!(vendor.counts(Keys::SHOP_APP, budget)["refused"], 0, "{budget}");
    }
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

/// Somebody else uses the same key: the vendor's rate headers show it, and the budget shrinks before the vendor
/// refuses.
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
    let limit = gateway
        .metric("jpush_gateway_budget_vendor_limit{budget=\"device\",credential=\"app\",tenant=\"shop\"}");
    assert!((limit - 10.0).abs() < 0.5, "{limit}");
}

#[test]
fn a_reserve_is_kept_for_its_owner_once_it_is_busy() {
    let (gateway, vendor) = start("device: { limit: 4, window: 1h }", "reserve: { device: 2 }");
    let other = || tags(Tokens::BOTH).header("X-JPush-Tenant", "shop");
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&other()).status, 200, "lent while idle");
    assert_eq!(connection.call(&tags(Tokens::ORDERS)).status, 200);
    let last = connection.call(&other());
    assert_eq!((last.status, last.number("X-Rate-Limit-Limit")), (200, 4));
    connection.call(&other()).assert_refused(429, "budget-exhausted", 2002);
    assert_eq!(connection.call(&tags(Tokens::ORDERS)).status, 200, "the one that was kept for it");
    connection.call(&tags(Tokens::ORDERS)).assert_refused(429, "budget-exhausted", 2002);
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!((&counts["total"], &counts["refused"]), (&4.into(), &0.into()));
}

/// Sets another limit of the device budget by a reload.
fn limit(gateway: &Gateway, config: &mut Config, limit: u32) {
    config.budgets = format!("device: {{ limit: {limit}, window: 20s }}");
    gateway.write_config(&config.yaml());
    assert_eq!(gateway.reload().status, 200);
}

/// A budget of one call that is used up, at a vendor that would accept three.
fn start_used_up(orders: &str) -> (Gateway, Simulator, Config) {
    let vendor = Simulator::with("device: { limit: 3, window: 20s }", Windows::Sliding);
    let mut config = Config::new(&vendor.url());
    config.budgets = "device: { limit: 1, window: 20s }".into();
    config.orders = orders.into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&tags(Tokens::BOTH).header("X-JPush-Tenant", "shop")).status, 200);
    (gateway, vendor, config)
}

/// Other callers took every slot while the reserve's owner was idle. It gets the first slot that becomes free, before
/// callers that have waited longer.
#[test]
fn an_owner_that_comes_back_goes_before_those_who_wait() {
    let (gateway, _vendor, mut config) = start_used_up("reserve: { device: 1 }");
    let call = |token| {
        gateway.call(&tags(token).header("X-JPush-Tenant", "shop").header("Prefer", "wait=22")).status
    };
    let waiting = || gateway.metric(WAITING).to_string();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| call(Tokens::BOTH));
        wait_until("the other waits", || waiting() == "1");
        let owner = scope.spawn(|| call(Tokens::ORDERS));
        wait_until("both wait", || waiting() == "2");
        limit(&gateway, &mut config, 2);
        assert_eq!((owner.join().expect("answered"), waiting().as_str()), (200, "1"));
        limit(&gateway, &mut config, 3);
        assert_eq!(other.join().expect("answered"), 200);
    });
}

#[test]
fn a_limit_that_is_raised_serves_who_waits_and_one_that_is_lowered_holds_them_back() {
    let (gateway, _vendor, mut config) = start_used_up("");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| gateway.call(&tags(Tokens::ORDERS).header("Prefer", "wait=22")).status);
        wait_until("it waits", || gateway.metric(WAITING) > 0.5);
        limit(&gateway, &mut config, 2);
        assert_eq!(waits.join().expect("answered"), 200);
    });
    limit(&gateway, &mut config, 1);
    let refused = gateway.call(&tags(Tokens::ORDERS));
    refused.assert_refused(429, "budget-exhausted", 2002);
    assert_eq!((refused.number("X-Rate-Limit-Limit"), refused.number("X-Rate-Limit-Remaining")), (1, 0));
}
