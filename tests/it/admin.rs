//! Tests of the admin listener and the access lines: what operators see, and what must stay hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::{
    Config, Connection, Gateway, Keys, PUSH, Request, Stub, Tokens, basic, json_answer, sha256_hex,
    wait_until,
};

/// A vendor that answers some calls well, some with an error code, and some by closing the connection.
fn vendor() -> Stub {
    Stub::start(|talk| {
        while let Some(request) = talk.read_request() {
            match &*request.line {
                "GET /v3/tags HTTP/1.1" => {
                    talk.write(json_answer("400 Bad", r#"{"error":{"code":424242,"message":""}}"#));
                }
                "DELETE /v3/tags/x HTTP/1.1" => return talk.reset(),
                _ => talk.write(json_answer("200 OK", r#"{"sendno":"0","msg_id":"181002870"}"#)),
            }
        }
    })
}

/// A gateway with such a vendor, and with a `/v4` region at which nobody listens.
fn start(vendor: &Stub, log: &'static str) -> (Gateway, Config) {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut config = Config::new(&vendor.url());
    config.image_v4 = format!("\"http://{port}\"");
    config.log = log;
    (Gateway::start(&config), config)
}

/// Calls of many kinds, good and bad.
fn traffic(gateway: &Gateway) {
    let requests = [
        Request::post("/v3/push", PUSH).basic(Keys::SHOP_APP, Tokens::ORDERS).header("X-Request-Id", "good"),
        Request::get("/v3/tags").bearer(Tokens::ORDERS).header("X-Request-Id", "code"),
        Request::new("DELETE", "/v3/tags/x").bearer(Tokens::ORDERS).header("X-Request-Id", "broken"),
        Request::post("/v4/image/oppo", r#"{"big_picture_url":"http://x.example/y.png"}"#)
            .bearer(Tokens::ORDERS),
        Request::get("/v3/secret-looking-path").bearer(Tokens::ORDERS).header("X-Request-Id", "unknown"),
        Request::post("/v3/push", PUSH)
            .basic("shop", "noTokenOfAnyone000000000")
            .header("X-Request-Id", "stranger"),
        Request::post("/v3/push", PUSH).basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET),
        Request::get("/v3/tags").basic("shop", Tokens::PUSHER).header("X-Request-Id", "forbidden"),
        Request::get("/v3/files").basic(Keys::SHOP_DEV, Tokens::BOTH),
        Request::post("/v3/grouppush", PUSH).basic("shop", Tokens::BOTH),
        Request::post("/v3/push", PUSH).basic("market", Tokens::BOTH),
        Request::get("/"),
    ];
    for request in requests {
        gateway.call(&request);
    }
}

#[test]
fn pages_and_methods() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    for path in ["/livez", "/readyz", "/metrics", "/status", "/"] {
        assert_eq!(gateway.page(path).status, 200, "{path}");
    }
    assert_eq!(gateway.page("/nothing").status, 404);
    assert!(gateway.page("/").text().contains("<html"));
    let mut connection = Connection::open(gateway.admin);
    assert_eq!(connection.call(&Request::post("/livez", "")).status, 405);
    assert_eq!(connection.call(&Request::new("HEAD", "/livez")).status, 200);
    // Admin pages are not served on the callers' listener, nor calls on the admin listener.
    assert_eq!(gateway.call(&Request::get("/metrics")).status, 401);
    assert_eq!(connection.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS)).status, 404);
}

/// The documented metrics with the names of their labels; `le` of histograms is left out.
const METRICS: [(&str, &[&str]); 24] = [
    ("requests_total", &["caller", "operation", "status", "tenant"]),
    ("request_duration_seconds_bucket", &["operation"]),
    ("request_duration_seconds_sum", &["operation"]),
    ("request_duration_seconds_count", &["operation"]),
    ("vendor_duration_seconds_bucket", &["operation"]),
    ("vendor_duration_seconds_count", &["operation"]),
    ("refusals_total", &["caller", "operation", "reason", "tenant"]),
    ("vendor_answers_total", &["code", "operation", "status", "tenant"]),
    ("vendor_failures_total", &["kind", "operation"]),
    ("retries_total", &["operation"]),
    ("budget_limit", &["budget", "credential", "tenant"]),
    ("budget_used", &["budget", "credential", "tenant"]),
    ("budget_waiting", &["budget", "credential", "tenant"]),
    ("budget_foreign_used", &["budget", "credential", "tenant"]),
    ("budget_holding_back", &["budget", "credential", "tenant"]),
    ("log_lost_total", &[]),
    ("in_flight_requests", &[]),
    ("connections", &[]),
    ("body_memory_bytes", &[]),
    ("head_memory_bytes", &[]),
    ("config_reloads_total", &["result"]),
    ("config_last_reload_success", &[]),
    ("build_info", &["revision", "version"]),
    ("vendor_duration_seconds_sum", &["operation"]),
];

/// Names of series, each with the sets of label names it occurs with.
fn series(page: &str) -> BTreeMap<&str, BTreeSet<Vec<&str>>> {
    let mut series: BTreeMap<&str, BTreeSet<Vec<&str>>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, labels) = line.split_once('{').unwrap_or((line.split(' ').next().expect("a name"), ""));
        let labels = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0));
        let mut labels: Vec<_> = labels.filter(|label| *label != "le").collect();
        labels.sort_unstable();
        series.entry(name).or_default().insert(labels);
    }
    series
}

#[test]
fn every_metric_has_its_name_and_labels() {
    let vendor = vendor();
    let (gateway, _) = start(&vendor, "info");
    traffic(&gateway);
    let page = gateway.page("/metrics").text();
    let series = series(&page);
    for (name, labels) in METRICS {
        let name = format!("jpush_gateway_{name}");
        let known = series.get(&*name).unwrap_or_else(|| panic!("no {name} in {page}"));
        assert_eq!(known.iter().collect::<Vec<_>>(), [labels], "{name}");
    }
    for (line, value) in [
        (r#"requests_total{caller="orders",operation="push",status="200",tenant="shop"}"#, 1.0),
        (r#"requests_total{caller="none",operation="none",status="200",tenant="none"}"#, 1.0),
        (r#"refusals_total{caller="none",operation="none",reason="unauthenticated",tenant="none"}"#, 2.0),
        (r#"refusals_total{caller="pusher",operation="tag-list",reason="forbidden",tenant="none"}"#, 1.0),
        (r#"refusals_total{caller="orders",operation="none",reason="unknown-endpoint",tenant="none"}"#, 1.0),
        (r#"vendor_answers_total{code="other",operation="tag-list",status="400",tenant="shop"}"#, 1.0),
        (r#"vendor_failures_total{kind="interrupted",operation="tag-delete"}"#, 1.0),
        (r#"vendor_failures_total{kind="connect",operation="image-v4-oppo"}"#, 2.0),
        (r#"retries_total{operation="image-v4-oppo"}"#, 1.0),
        (r#"budget_limit{budget="device",credential="app",tenant="shop"}"#, 600.0),
        (r#"budget_used{budget="push",credential="group",tenant="shop"}"#, 1.0),
        (r#"budget_used{budget="file",credential="dev",tenant="shop"}"#, 1.0),
    ] {
        let found = gateway.metric(&format!("jpush_gateway_{line}"));
        assert!((found - value).abs() < 0.1, "{line}: {found} in {page}");
    }
    assert!(!page.contains(r#"budget_used{budget="report""#), "a budget that nobody used has no series");
    // A request cannot create a series.
    for odd in ["secret-looking-path", "424242", "stranger"] {
        assert!(!page.contains(odd), "{odd}: {page}");
    }
    check_with_promtool(&page);
}

/// Checks the page with promtool, if it is installed.
fn check_with_promtool(page: &str) {
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else { return };
    tool.stdin.take().expect("piped").write_all(page.as_bytes()).expect("the tool reads");
    let output = tool.wait_with_output().expect("a child of ours");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_status_page_tells_what_there_is() {
    let vendor = vendor();
    let (gateway, config) = start(&vendor, "info");
    traffic(&gateway);
    let status = gateway.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].is_u64() && status["config"]["loaded"].is_string(), "{status}");
    assert_eq!(status["config"]["digest"], sha256_hex(config.yaml().as_bytes()));
    let push = &status["tenants"]["shop"]["app"]["budgets"]["push"];
    assert_eq!(
        (&push["limit"], &push["used"], &push["waiting"]),
        (&600.into(), &1.into(), &0.into()),
        "{push}"
    );
    assert!(push["reset_seconds"].as_f64().is_some_and(|reset| (50.0..=61.0).contains(&reset)), "{push}");
    assert_eq!(push["callers"]["orders"], serde_json::json!({ "window": 1, "last_hour": 1 }), "{push}");
    assert_eq!(status["tenants"]["market"]["app"]["budgets"]["push"]["callers"]["both"]["window"], 1);
    let tokens = |caller: &str| status["callers"][caller]["tokens"].as_object().expect("an object").clone();
    assert!(tokens("orders")["2026-11"]["last_use"].is_string());
    assert!(tokens("filer").values().all(|token| token["last_use"].is_null()), "never used");
    let refusals = status["recent_refusals"].as_array().expect("an array");
    let reasons: BTreeSet<_> = refusals.iter().filter_map(|refusal| refusal["reason"].as_str()).collect();
    for reason in ["unauthenticated", "forbidden", "unknown-endpoint", "vendor-interrupted"] {
        assert!(reasons.contains(reason), "{reason}: {status}");
    }
}

#[test]
fn access_lines_have_exactly_their_fields() {
    let vendor = vendor();
    let (gateway, _) = start(&vendor, "info");
    traffic(&gateway);
    wait_until("all lines are written", || gateway.lines().len() == 12);
    let fields = [
        "time",
        "request_id",
        "caller",
        "tenant",
        "operation",
        "status",
        "reason",
        "vendor_code",
        "msg_id",
        "duration_ms",
        "vendor_ms",
        "bytes_in",
        "bytes_out",
        "attempts",
        "peer",
        "token",
        "rule",
        "trace_id",
        "host",
    ];
    let out = gateway.program.out();
    for line in out.lines() {
        let mut at = 0;
        for field in fields {
            let found =
                line[at..].find(&format!("\"{field}\":")).unwrap_or_else(|| panic!("{field} in {line}"));
            at += found;
        }
        let json: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(fields.len()), "{line}");
        assert!(
            json["duration_ms"].is_number() && json["status"].is_u64() && json["bytes_in"].is_u64(),
            "{line}"
        );
    }
    let good = gateway.line("good");
    for (field, value) in
        [("caller", "orders"), ("tenant", "shop"), ("operation", "push"), ("msg_id", "181002870")]
    {
        assert_eq!(good[field], value, "{good}");
    }
    assert_eq!((&good["status"], &good["reason"]), (&200.into(), &Value::Null));
    assert_eq!((&good["bytes_in"], &good["bytes_out"]), (&PUSH.len().into(), &35.into()));
    assert!(good["vendor_ms"].is_number());
    assert_eq!(gateway.line("code")["vendor_code"], 424_242);
    let broken = gateway.line("broken");
    assert_eq!((&broken["status"], &broken["reason"]), (&502.into(), &"vendor-interrupted".into()));
    let stranger = gateway.line("stranger");
    assert_eq!(
        (&stranger["status"], &stranger["caller"], &stranger["vendor_ms"]),
        (&401.into(), &Value::Null, &Value::Null)
    );
    let unknown = gateway.line("unknown");
    assert_eq!((&unknown["caller"], &unknown["operation"]), (&"orders".into(), &Value::Null));
    assert_eq!(gateway.line("forbidden")["operation"], "tag-list");
}

#[test]
fn no_output_has_a_secret_a_token_a_body_or_a_raw_path_in_it() {
    let vendor = vendor();
    let (mut gateway, _) = start(&vendor, "trace");
    traffic(&gateway);
    let mut answers: String = ["/status", "/metrics", "/"].map(|path| gateway.page(path).text()).concat();
    let refused = gateway.call(&Request::get("/v3/tags").basic("shop", Keys::SHOP_APP_SECRET));
    answers = format!("{answers}{refused:?} {}", refused.text());
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
    wait_until("the log is read", || gateway.program.err().contains("stopped"));
    let all = [answers, gateway.program.out(), gateway.program.err()].concat();
    let words = Keys::SECRETS.into_iter().chain(Tokens::ALL).chain(["noTokenOfAnyone000000000"]);
    let pairs = [
        (Keys::SHOP_APP, Keys::SHOP_APP_SECRET),
        (Keys::SHOP_DEV, Keys::SHOP_DEV_SECRET),
        (&format!("group-{}", Keys::SHOP_GROUP), Keys::SHOP_GROUP_SECRET),
        (Keys::MARKET_APP, Keys::MARKET_APP_SECRET),
        (Keys::SHOP_APP, Tokens::ORDERS),
        ("shop", Tokens::PUSHER),
    ]
    .map(|(user, password)| basic(user, password).replace("Basic ", ""));
    for word in words.map(str::to_owned).chain(pairs) {
        assert!(!all.contains(&word), "{word}");
        assert!(!all.contains(&STANDARD.encode(&word)), "{word} in base64");
    }
    for word in ["secret-looking-path", "Hello", "anna"] {
        assert!(!all.contains(word), "{word}");
    }
}

#[test]
fn pages_that_are_not_for_everybody_ask_for_the_token() {
    let token = "adminTokenForTests202612";
    let mut config = Config::new("http://127.0.0.1:1");
    config.admin = format!(", token: {{ sha256: {} }}", sha256_hex(token.as_bytes()));
    let gateway = Gateway::start(&config);
    let ask = |method: &str, path: &str, token: Option<&str>| {
        let request = Request::new(method, path).header("Connection", "close");
        let request = token.into_iter().fold(request, Request::bearer);
        Connection::open(gateway.admin).call(&request).status
    };
    for (method, path) in [("GET", "/"), ("GET", "/find"), ("GET", "/status"), ("POST", "/reload")] {
        assert_eq!(ask(method, path, None), 401, "{path}");
        assert_eq!(ask(method, path, Some("another")), 401, "{path}");
        assert_eq!(ask(method, path, Some(token)), 200, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask("GET", path, None), 200, "{path} stays open");
    }
    let call =
        |request: Request| Connection::open(gateway.admin).call(&request.header("Connection", "close"));
    let challenge = call(Request::get("/"));
    assert!(challenge.header("www-authenticate").is_some_and(|asks| asks.starts_with("Basic realm=")));
    for user in ["", "admin"] {
        assert_eq!(call(Request::get("/").basic(user, token)).status, 200, "a browser's way");
    }
    assert_eq!(call(Request::get("/").basic(token, "")).status, 401);
}

#[test]
fn no_other_site_reads_or_changes_anything_through_a_browser() {
    let gateway = Gateway::start(&Config::new("http://127.0.0.1:1"));
    let call =
        |request: Request| Connection::open(gateway.admin).call(&request.header("Connection", "close"));
    let reload = || Request::new("POST", "/reload");
    let to = |host: &str, path: &str| {
        let mut connection = Connection::open(gateway.admin);
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        connection.read_answer()
    };
    assert_eq!(call(reload().header("Origin", "http://gateway")).status, 200);
    let refused = call(reload().header("Origin", "http://evil.example"));
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(call(reload().header("Sec-Fetch-Site", "cross-site")).status, 403);
    for path in ["/", "/status"] {
        let rebound = to("evil.example", path);
        assert_eq!(rebound.status, 403, "{}", rebound.text());
    }
    assert_eq!(to("gateway.internal", "/metrics").status, 200);
}
