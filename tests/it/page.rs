//! Tests of the page for operators: what it tells first, what it escapes, and that it stays small.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::CertificateParams;
use serde_json::{Value, json};

use crate::support::{
    Authority, Config, Connection, Folder, Gateway, Keys, PUSH, Redis, Request, Stub, Tokens, json_answer,
    sha256_hex, tls_vendor, wait_until,
};

fn vendor(answer: &'static str, body: &'static str) -> Stub {
    Stub::start(move |talk| {
        while talk.read_request().is_some() {
            talk.write(json_answer(answer, body));
        }
    })
}

/// The keys of one more tenant.
fn key(number: u32) -> String {
    format!("{{ app: {{ key: \"{number:024x}\", secret: {{ value: \"{:024x}\" }} }} }}", number + 100_000)
}

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// The texts of the problems, on the page and in JSON alike.
fn problems(gateway: &Gateway) -> Vec<String> {
    let page = plain_times(&gateway.page("/").text());
    let status = gateway.status();
    let problems = status["problems"].as_array().expect("a list");
    let texts: Vec<_> =
        problems.iter().map(|problem| problem["what"].as_str().expect("a text").to_owned()).collect();
    for text in &texts {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert_eq!(texts.is_empty(), page.contains("All is well."));
    texts
}

/// A page whose times are as they are in JSON: without an element, and without how long ago they are.
fn plain_times(page: &str) -> String {
    let mut parts = page.split("<time datetime=\"");
    let mut plain = parts.next().expect("the beginning").to_owned();
    for part in parts {
        let (time, rest) = part.split_once('"').expect("the end of the attribute");
        let (_, rest) = rest.split_once("</time>").expect("the end of the element");
        let after =
            rest.strip_prefix(" (").and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
        plain.extend([time, after]);
    }
    plain
}

/// What `/status` tells of the only vendor host.
fn host(gateway: &Gateway) -> Value {
    let status = gateway.status();
    let hosts = status["vendor"].as_object().expect("an object");
    assert_eq!(hosts.len(), 1, "{status}");
    hosts.values().next().expect("one").clone()
}

#[test]
fn a_gateway_without_problems_says_so() {
    let vendor = vendor("200 OK", r#"{"sendno":"0","msg_id":"181002870"}"#);
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    assert_eq!(gateway.call(&push()).status, 200);
    assert!(problems(&gateway).is_empty());
    let page = gateway.page("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    assert_eq!(
        (page.header("x-content-type-options"), page.header("cache-control")),
        (Some("nosniff"), Some("no-store"))
    );
    let text = page.text();
    for part in [
        "<h2",
        "<th scope=\"row\"",
        "viewport",
        "http-equiv=\"refresh\"",
        "1 of 600 in 1m",
        "<svg",
        "prefers-color-scheme: dark",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Nothing is loaded from anywhere.
    for part in ["<script", "src=", "http://", "https://", "@import", "url("] {
        assert!(!text.contains(part), "{part}: {text}");
    }
    let hour = gateway.status()["last_hour"].clone();
    let last_two = hour.as_array().expect("a list").iter().rev().take(2);
    assert_eq!(last_two.filter_map(|minute| minute["good"].as_u64()).sum::<u64>(), 1, "{hour}");
}

#[test]
fn problems_come_first_with_what_helps() {
    let rejecting = vendor("401 Unauthorized", r#"{"error":{"code":1004,"message":"authen failed"}}"#);
    let mut config = Config::new(&rejecting.url());
    config.budgets = "push: { limit: 2, window: 1h }".into();
    let gateway = Gateway::start(&config);
    for _ in 0..3 {
        gateway.call(&push());
    }
    for _ in 0..25 {
        gateway.call(&Request::post("/v3/push", PUSH).bearer("noTokenOfAnyone000000000"));
    }
    gateway.write_config("listeners: soon");
    assert_eq!(gateway.reload().status, 422);
    let told = problems(&gateway);
    let all = told.join("\n");
    for part in [
        "shop: the vendor rejects our credential since 20",
        "2 calls in the last hour",
        "shop/app: the push budget is used up: 2 of 2, 2 of them by orders",
        "25 requests of the last hour had no good credentials",
        "The last reload failed; the configuration of 20",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    // Causes come before the budgets, and what can wait comes last.
    let order = ["rejects our credential", "The last reload failed", "is used up", "had no good credentials"]
        .map(|part| told.iter().position(|text| text.contains(part)));
    assert!(order.is_sorted() && order[0] == Some(0), "{all}");
}

#[test]
fn budgets_that_are_held_back_are_one_problem_with_its_cause() {
    let vendor = vendor("200 OK", "{}");
    let folder = Folder::new();
    let mut config = Config::new(&vendor.url());
    let names: Vec<&'static str> = (0..30).map(|number| &*format!("team-{number}").leak()).collect();
    config.others = names.iter().zip(1..).map(|(name, number)| (*name, key(number))).collect();
    config.more = format!("state_file: \"{}\"", folder.path().join("state").display());
    config.budgets = "push: { limit: 600, window: 1h }, report: { limit: 600, window: 2h }".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).basic("shop", Tokens::ORDERS)).status, 200);
    drop(gateway);
    let mut bytes = std::fs::read(folder.path().join("state")).expect("the state file");
    bytes[100] ^= 1;
    folder.write("state", bytes);
    let gateway = Gateway::start(&config);
    gateway.write_config("listeners: soon");
    assert_eq!(gateway.reload().status, 422);

    let status = gateway.status();
    let tenants = status["tenants"].as_object().expect("an object").values();
    let credentials = tenants.flat_map(|tenant| tenant.as_object().expect("an object").values());
    let held: usize = credentials
        .map(|credential| {
            let budgets = credential["budgets"].as_object().expect("an object").values();
            budgets.filter(|budget| budget["holding_back"] == true).count()
        })
        .sum();
    let told = problems(&gateway);
    assert_eq!(told.len(), 2, "{told:?}");
    let expected = format!("{held} budgets are held back, because the state file does not tell which calls");
    assert!(held > 60 && told[0].starts_with(&expected), "{told:?}");
    assert!(told[0].contains("; this ends by itself in ") && told[0].contains(" for the last."), "{told:?}");
    assert!(told[1].starts_with("The last reload failed"), "{told:?}");
    let cure = status["problems"][0]["cure"].as_str().expect("a text");
    assert!(cure.starts_with("Wait.") && cure.contains("JPushBudgetHeldBack"), "{cure}");
}

#[test]
fn budgets_in_a_store_are_a_problem_once_it_holds_them_back() {
    let (redis, vendor) = (Redis::start(), vendor("200 OK", "{}"));
    let mut config = Config::new(&vendor.url());
    config.more =
        format!("shared_budgets: {{ redis: {{ url: \"{}\", local_share: 0%, replicas: 1 }} }}", redis.url());
    let gateway = Gateway::start(&config);
    wait_until("the store", || gateway.status()["store"] == "up");
    assert_eq!(problems(&gateway), [""; 0], "a budget that nobody asked for is not used up");
    gateway.call(&push()).assert_refused(429, "budget-exhausted", 2002);
    let told = problems(&gateway);
    let expected = "1 budget is held back, because the store of the shared budgets does not know which calls \
                    were made before; this ends by itself in ";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
}

#[test]
fn a_budget_that_the_vendor_cuts_is_told_with_what_helps() {
    let vendor = Stub::start(|talk| {
        while talk.read_request().is_some() {
            let limits = "X-Rate-Limit-Limit: 1\r\nX-Rate-Limit-Remaining: 0\r\nX-Rate-Limit-Reset: 50\r\n";
            talk.write(format!("HTTP/1.1 200 OK\r\n{limits}Content-Length: 2\r\n\r\n{{}}"));
        }
    });
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    assert_eq!(gateway.call(&push()).status, 200);
    let told = problems(&gateway);
    let expected = "shop/app: the push budget is used up: 1 of 1, which is all that the vendor allows at present, \
                    1 of them by orders; 0 wait, more in ";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    let cure = gateway.status()["problems"][0]["cure"].clone();
    assert!(cure.as_str().is_some_and(|cure| cure.contains("correct the limit")), "{cure}");
}

#[test]
fn a_vendor_that_cannot_be_reached_is_a_problem() {
    let gateway = Gateway::start(&Config::new("http://127.0.0.1:1"));
    wait_until("the circuit opens", || {
        gateway.call(&push());
        gateway.status()["vendor"]["127.0.0.1:1"]["circuit"] != "closed"
    });
    let all = problems(&gateway).join("\n");
    assert!(all.contains("127.0.0.1:1 cannot be reached") && all.contains("failed at the vendor"), "{all}");
    // The circuit is the problem, so its failures are not told a second time; but they are counted, with their causes.
    assert!(!all.contains("of the last five minutes failed"), "{all}");
    let host = host(&gateway);
    let cause = host["last_error"]["cause"].as_str().expect("a cause");
    let expected = "the connection was refused or failed: ";
    assert!(cause.starts_with(expected) && cause.contains("Connection refused"), "{cause}");
    assert_eq!(host["last_hour"]["calls"], host["last_hour"]["errors"]);
    assert_eq!(host["last_hour"]["p99_ms"], Value::Null, "nothing was answered");
}

#[test]
fn each_vendor_host_has_its_calls_errors_and_times() {
    let served = AtomicUsize::new(0);
    let answers = [
        ("200 OK", "{}", "application/json"),
        ("200 OK", "{}", "application/json"),
        ("400 Bad Request", r#"{"error":{"code":1003,"message":"no"}}"#, "application/json"),
        ("403 Forbidden", "<html>blocked</html>", "text/html"),
        ("503 Service Unavailable", r#"{"error":{"code":1000,"message":"busy"}}"#, "application/json"),
    ];
    let vendor = Stub::start(move |talk| {
        while talk.read_request().is_some() {
            let (status, body, media_type) = answers[served.fetch_add(1, Ordering::Relaxed) % answers.len()];
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}");
            talk.write(format!("{head}\r\n\r\n{body}"));
        }
    });
    let mut config = Config::new(&vendor.url());
    let gateway = Gateway::start(&config);
    let before = host(&gateway);
    assert_eq!(before["serves"], json!(["api", "device", "report", "image_v4"]));
    assert_eq!((&before["last_error"], &before["certificate"]), (&Value::Null, &Value::Null));
    for _ in 0..4 {
        gateway.call(&push());
    }
    let told = host(&gateway);
    assert_eq!(told["last_minute"], json!({ "calls": 4, "errors": 1 }), "{told}");
    assert_eq!(told["last_error"]["cause"], "the vendor answered with status 403");
    gateway.call(&push());
    let told = host(&gateway);
    for span in ["last_minute", "last_five_minutes", "last_hour"] {
        assert_eq!((&told[span]["calls"], &told[span]["errors"]), (&json!(5), &json!(2)), "{span}: {told}");
    }
    let (half, most) = (told["last_hour"]["p50_ms"].as_u64(), told["last_hour"]["p99_ms"].as_u64());
    assert!(half.is_some_and(|half| half > 0) && most >= half, "{told}");
    assert_eq!(told["last_error"]["cause"], "the vendor answered with status 503");
    let page = plain_times(&gateway.page("/").text());
    for part in
        ["5 calls<br>", "2 errors", ": the vendor answered with status 503", "api, device, report, image_v4"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!problems(&gateway).join("\n").contains("of the last five minutes"), "two of five are not most");
    // A configuration with the same host goes on where the one before ended.
    config.log = "debug";
    gateway.write_config(&config.yaml());
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(host(&gateway)["last_hour"], told["last_hour"]);
}

#[test]
fn a_vendor_host_with_mostly_errors_is_a_problem() {
    let vendor = vendor("500 Internal Server Error", r#"{"error":{"code":1000,"message":"oops"}}"#);
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    for _ in 0..2 {
        gateway.call(&push());
    }
    assert!(problems(&gateway).is_empty(), "two errors can be chance");
    gateway.call(&push());
    let status = gateway.status();
    let first = &status["problems"][0];
    let what = first["what"].as_str().expect("a text");
    assert!(what.contains(": 3 of 3 calls of the last five minutes failed; the last at 20"), "{what}");
    assert!(what.ends_with("Z: the vendor answered with status 500."), "{what}");
    assert_eq!(first["urgent"], true);
    assert!(!problems(&gateway).is_empty());
}

#[test]
fn the_end_of_the_vendors_certificate_is_told() {
    let authority = Authority::new();
    for (days, is_problem) in [(40, false), (10, true)] {
        let end = SystemTime::now() + Duration::from_hours(24 * days + 1);
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a good name");
        let since = end.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since;
        let (certificate, key) = authority.sign_with(&params);
        let folder = Folder::new();
        folder.write("ca.pem", authority.pem());
        let mut config = Config::new(&format!("https://localhost:{}", tls_vendor(&certificate, &key).port()));
        config.vendor = "ca: ca.pem".into();
        let gateway = Gateway::start_in(folder, &config);
        assert_eq!(host(&gateway)["certificate"], Value::Null, "nothing was connected yet");
        assert_eq!(gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS)).status, 200);
        let shown = host(&gateway)["certificate"].clone();
        let not_after = humantime::format_rfc3339_seconds(end).to_string();
        assert_eq!(shown, json!({ "not_after": not_after, "days_left": days }));
        let page = gateway.page("/").text();
        let cell = format!(
            "<time datetime=\"{not_after}\">{not_after}</time> <span class=\"soft\">in {days} days</span>"
        );
        assert!(page.contains(&cell), "{page}");
        let told = problems(&gateway).join("\n");
        let expected = format!("ends in {days} days, at {not_after}.");
        assert_eq!(
            told.contains(&expected) && told.contains("The vendor's certificate at localhost"),
            is_problem,
            "{told}"
        );
        // A reload goes on with what was seen.
        config.log = "debug";
        gateway.write_config(&config.yaml());
        assert_eq!(gateway.reload().status, 200);
        assert_eq!(host(&gateway)["certificate"], shown);
    }
}

#[test]
fn the_fullest_budgets_are_drawn_minute_by_minute() {
    let vendor = vendor("200 OK", "{}");
    let mut config = Config::new(&vendor.url());
    config.budgets = "push: { limit: 4, window: 1h }, report: { limit: 1000, window: 1h }".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.status()["busiest_budgets"], json!([]), "nobody used one");
    assert!(!gateway.page("/").text().contains("Budgets in use"));
    for _ in 0..3 {
        assert_eq!(gateway.call(&push()).status, 200);
    }
    let received = Request::get("/v3/received?msg_ids=1").bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&received).status, 200);
    let status = gateway.status();
    let busiest = status["busiest_budgets"].as_array().expect("a list");
    let told: Vec<_> = busiest
        .iter()
        .map(|busy| {
            let percent = busy["percent"].as_array().expect("a list");
            assert_eq!(percent.len(), 60);
            (busy["tenant"].clone(), busy["credential"].clone(), busy["budget"].clone(), percent[59].clone())
        })
        .collect();
    let row = |budget: &str, percent| (json!("shop"), json!("app"), json!(budget), json!(percent));
    assert_eq!(told, [row("push", 75), row("report", 1)]);
    let page = gateway.page("/").text();
    for part in ["Budgets in use", "at most 75 %", "<path class=\"low\" d=\"M", "v-75h8v75z"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    gateway.call(&push());
    assert!(gateway.page("/").text().contains("<path class=\"full\""));
}

#[test]
fn times_are_told_with_how_long_ago_they_were() {
    let vendor = vendor("200 OK", "{}");
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    gateway.call(&push());
    let loaded = gateway.status()["config"]["loaded"].as_str().expect("a time").to_owned();
    let page = gateway.page("/").text();
    let marked = format!("<time datetime=\"{loaded}\">{loaded}</time> <span class=\"soft\">");
    let (_, rest) = page.split_once(&marked).unwrap_or_else(|| panic!("{marked}: {page}"));
    let (ago, _) = rest.split_once("</span>").expect("an end");
    assert!(ago.ends_with(" s ago") || ago.ends_with(" min ago"), "{ago}");
}

#[test]
fn the_status_can_be_asked_for_in_parts() {
    let vendor = vendor("200 OK", "{}");
    let mut config = Config::new(&vendor.url());
    let names: Vec<&'static str> = (0..60).map(|number| &*format!("team-{number:02}").leak()).collect();
    config.others = names.iter().zip(1..).map(|(name, number)| (*name, key(number))).collect();
    let gateway = Gateway::start(&config);
    let no_audience = r#"{"platform":"all","notification":{"alert":"Hello"}}"#;
    for token in [Tokens::ORDERS, Tokens::BOTH] {
        let request = Request::post("/v3/push", no_audience).basic("market", token);
        gateway.call(&request);
    }
    gateway.call(&Request::post("/v3/push", no_audience).basic("shop", Tokens::ORDERS));
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let get = |query: &str| gateway.page(&format!("/status{query}"));

    let whole = get("").json();
    assert_eq!((names(&whole["tenants"]).len(), names(&whole["callers"]).len()), (62, 4));
    assert_eq!(whole["pages"], Value::Null);

    let shop = get("?tenant=shop").json();
    assert_eq!((names(&shop["tenants"]), names(&shop["callers"]).len()), (vec!["shop".to_owned()], 4));
    assert_eq!(names(&whole).len(), names(&shop).len(), "every key is there");
    for list in ["refusals", "recent_refusals"] {
        let all = whole[list].as_array().expect("a list");
        let own = shop[list].as_array().expect("a list");
        assert!(!own.is_empty() && own.len() < all.len(), "{list}: {shop}");
        assert!(own.iter().all(|refused| refused["tenant"] == "shop"), "{list}: {shop}");
    }
    let both = get("?caller=both&tenants=2").json();
    assert_eq!(names(&both["callers"]), ["both"]);
    assert!(both["refusals"].as_array().expect("a list").iter().all(|group| group["caller"] == "both"));
    assert_eq!(names(&both["tenants"])[0], "team-48");
    assert_eq!(names(&both["tenants"]).len(), 12);
    assert_eq!(both["pages"], json!({ "tenants": { "page": 2, "last_page": 2, "entries": 62 } }));

    for (query, status, says) in [
        ("?tenants=0", 400, "pages are numbers from 1"),
        (
            "?page=2",
            400,
            "no parameter \"page\"; it takes tenant=NAME, caller=NAME, tenants=PAGE and callers=PAGE",
        ),
        ("?tenant=shop&tenant=market", 400, "tenant is there twice"),
        ("?tenant=nowhere", 404, "no tenant \"nowhere\""),
        ("?caller=", 404, "no caller \"\""),
    ] {
        let answer = get(query);
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(answer.text().contains(says), "{query}: {}", answer.text());
    }
}

#[test]
fn a_browser_may_apply_the_style_sheet_and_nothing_else() {
    let vendor = vendor("200 OK", "{}");
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    gateway.call(&push());
    let pages = [("/", "none"), ("/tenants/shop", "none"), ("/callers/orders", "none"), ("/find", "self")];
    for (path, form_action) in pages {
        let page = gateway.page(path);
        let text = page.text();
        let (_, rest) = text.split_once("<style>").expect("a style sheet");
        let (style, rest) = rest.split_once("</style>").expect("its end");
        let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
        let expected = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action '{form_action}'; frame-ancestors 'none'"
        );
        assert_eq!(page.header("content-security-policy"), Some(&*expected), "{path}");
        assert!(!text.contains(" style=") && !rest.contains("<style"), "{path}: {text}");
    }
}

#[test]
fn refusals_are_grouped_and_escaped() {
    let vendor = vendor("200 OK", "{}");
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let hostile = "<script>alert(1)</script>\"&";
    for _ in 0..60 {
        gateway.call(
            &Request::post("/v3/push", PUSH)
                .bearer("noTokenOfAnyone000000000")
                .header("X-Request-Id", hostile),
        );
    }
    let no_audience = r#"{"platform":"all","notification":{"alert":"Hello"}}"#;
    for id in ["first", hostile] {
        let request =
            Request::post("/v3/push", no_audience).bearer(Tokens::ORDERS).header("X-Request-Id", id);
        gateway.call(&request).assert_refused(400, "invalid-body", 1002);
    }
    let page = gateway.page("/").text();
    assert!(
        !page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&amp;"),
        "{page}"
    );
    assert!(page.contains("<em>strangers</em>") && page.contains("the push has no audience"), "{page}");
    let groups = gateway.status()["refusals"].clone();
    let shown: Vec<_> = groups
        .as_array()
        .expect("a list")
        .iter()
        .map(|group| {
            (
                group["caller"].clone(),
                group["reason"].clone(),
                group["operation"].clone(),
                group["count"].clone(),
            )
        })
        .collect();
    let (strangers, orders) = (
        (Value::Null, json!("unauthenticated"), Value::Null, json!(60)),
        (json!("orders"), json!("invalid-body"), json!("push"), json!(2)),
    );
    assert_eq!(shown, [strangers, orders]);
    // Strangers do not push the others out of the latest ones either.
    let recent = gateway.status()["recent_refusals"].clone();
    assert!(
        recent.as_array().expect("a list").iter().any(|refused| refused["request_id"] == "first"),
        "{recent}"
    );
}

#[test]
fn tenants_and_callers_have_pages_of_their_own() {
    let vendor = vendor("200 OK", r#"{"sendno":"0","msg_id":"181002870"}"#);
    let mut config = Config::new(&vendor.url());
    config.orders = "quota: { limit: 5, window: 60s }".into();
    config.admin = format!(", token: {{ sha256: {} }}", sha256_hex(b"adminTokenForTests202612"));
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&push()).status, 200);
    let page = |path: &str| {
        let request = Request::get(path).basic("", "adminTokenForTests202612").header("Connection", "close");
        Connection::open(gateway.admin).call(&request)
    };
    let tenant = page("/tenants/shop").text();
    assert!(tenant.contains(Keys::SHOP_APP) && tenant.contains("/callers/orders"), "{tenant}");
    let caller = page("/callers/orders").text();
    assert!(caller.contains("Quota: 1 of 5 used in 1m.") && caller.contains("token 2026-11"), "{caller}");
    for secret in Keys::SECRETS.iter().chain(&Tokens::ALL) {
        assert!(!tenant.contains(secret) && !caller.contains(secret));
    }
    for unknown in ["/tenants/nowhere", "/callers/", "/callers/nobody/x", "/tenants/%2e%2e"] {
        assert_eq!(page(unknown).status, 404, "{unknown}");
    }
    let without =
        Connection::open(gateway.admin).call(&Request::get("/tenants/shop").header("Connection", "close"));
    assert_eq!(without.status, 401);
}

#[test]
fn a_tenant_or_a_caller_is_found_by_its_name() {
    let mut config = Config::new("http://127.0.0.1:1");
    let names: Vec<&'static str> = (0..60).map(|number| &*format!("team-{number:02}").leak()).collect();
    config.others = names
        .iter()
        .chain(&["orders-2", "both"])
        .zip(1..)
        .map(|(name, number)| (*name, key(number)))
        .collect();
    let gateway = Gateway::start(&config);
    assert!(gateway.page("/").text().contains("<a href=\"/find\">Find a tenant or caller</a>"));
    let form = gateway.page("/find").text();
    for part in
        ["<form", "role=\"search\"", "<label for=\"name\">", "<input id=\"name\" name=\"name\"", "<button>"]
    {
        assert!(form.contains(part), "{part}: {form}");
    }
    // It would take away what somebody types.
    assert!(!form.contains("http-equiv=\"refresh\""), "{form}");
    for (name, path) in
        [("shop", "/tenants/shop"), ("team-07", "/tenants/team-07"), ("+orders+", "/callers/orders")]
    {
        let found = gateway.page(&format!("/find?name={name}"));
        assert_eq!((found.status, found.header("location")), (303, Some(path)), "{name}");
        assert_eq!(gateway.page(path).status, 200);
    }
    let list = |name: &str| {
        let page = gateway.page(&format!("/find?name={name}"));
        assert_eq!(page.status, 200, "{name}");
        page.text()
    };
    // A name that a tenant and a caller have, and a part of some names.
    for (name, found) in
        [("both", ["/tenants/both", "/callers/both"]), ("ORDERS", ["/tenants/orders-2", "/callers/orders"])]
    {
        let page = list(name);
        for path in found {
            assert!(page.contains(&format!("<a href=\"{path}\">")), "{path}: {page}");
        }
    }
    let teams = list("team");
    assert!(
        teams.matches("<li>").count() == 50 && teams.contains("10 more; write more of the name"),
        "{teams}"
    );
    assert!(list("nobody").contains("None has this in its name."));
    for hostile in ["%22%3E%3Cscript%3E", "..%2Freload", "../reload", "a%0d%0aSet-Cookie:x"] {
        let page = list(hostile);
        assert!(
            page.contains("Names are of at most 64 letters") && page.contains("value=\"\""),
            "{hostile}: {page}"
        );
    }
}

#[test]
fn the_page_stays_small_with_many_teams() {
    let vendor = vendor("200 OK", r#"{"sendno":"0","msg_id":"181002870"}"#);
    let mut config = Config::new(&vendor.url());
    let names: Vec<&'static str> = (0..300).map(|number| &*format!("team-{number}").leak()).collect();
    config.others = names.iter().zip(1..).map(|(name, number)| (*name, key(number))).collect();
    let gateway = Gateway::start(&config);
    for name in names.iter().take(120) {
        assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).basic(name, Tokens::ORDERS)).status, 200);
    }
    let page = gateway.page("/").text();
    assert!(page.contains("page 1 of 3") && page.len() < 64 * 1024, "{} bytes", page.len());
    let rows = |page: &str| page.matches("<th scope=\"row\"><a href=\"/tenants/team-").count();
    assert_eq!((rows(&page), rows(&gateway.page("/?budgets=3").text())), (50, 20));
    // Teams that nobody called have no series.
    assert!(!gateway.page("/metrics").text().contains("team-200"));
}

/// In a real browser, if there is one: the page is shown with nothing blocked or missing.
#[test]
fn a_browser_shows_the_page() {
    let vendor = vendor("200 OK", r#"{"sendno":"0","msg_id":"181002870"}"#);
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    gateway.call(&push());
    let folder = Folder::new();
    let profile = folder.write("profile", "").with_file_name("browser");
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // What the browser blocks is said on its console.
        .args(["--enable-logging=stderr", "--log-level=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--timeout=10000", "--dump-dom", &format!("http://{}/", gateway.admin)])
        .output();
    let Ok(output) = browser else {
        eprintln!("skipped: there is no chromium to show the page");
        return;
    };
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("All is well.") && shown.contains("1 of 600 in 1m"), "{shown}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("Content Security Policy"), "{said}");
}
