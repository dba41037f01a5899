//! Tests of `GET /_gateway/whoami`, by which a caller finds out what it may do and how its budgets stand.

use rcgen::CertificateParams;
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use crate::support::{
    Authority, Config, Folder, Gateway, Keys, PUSH, Request, Stub, Tokens, h2_get, json_answer, run, stdout,
    tls_connect,
};

fn start(orders: &str) -> (Stub, Gateway) {
    let vendor = Stub::start(|talk| {
        while talk.read_request().is_some() {
            talk.write(json_answer("200 OK", r#"{"sendno":"0","msg_id":"181002870"}"#));
        }
    });
    let mut config = Config::new(&vendor.url());
    config.budgets = "push: { limit: 10, window: 1h }, broadcast: { limit: 3, window: 24h }".into();
    config.orders = orders.into();
    let gateway = Gateway::start(&config);
    (vendor, gateway)
}

fn whoami() -> Request {
    Request::get("/_gateway/whoami")
}

fn told(gateway: &Gateway, request: &Request) -> Value {
    let answer = gateway.call(request);
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")));
    assert_eq!(answer.header("X-JPush-Gateway-Reason"), None);
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// The keys of an object, sorted.
fn names(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_caller_is_told_its_rights_and_how_its_budgets_stand() {
    let (vendor, gateway) = start("quota: { limit: 4, window: 60s }\n    broadcast: false\n    weight: 3");
    for _ in 0..2 {
        assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)).status, 200);
    }
    let told = told(&gateway, &whoami().basic(Keys::SHOP_APP, Tokens::ORDERS));
    assert_eq!(
        (&told["name"], &told["broadcast"], &told["weight"]),
        (&json!("orders"), &json!(false), &json!(3))
    );
    let scopes = ["push", "file", "schedule", "group", "image", "device", "report"];
    let mut known: Vec<&str> =
        told["scopes"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    known.sort_unstable();
    assert!(scopes.iter().all(|scope| known.binary_search(scope).is_ok()) && known.len() == 7, "{told}");
    let quota = &told["quota"];
    assert_eq!((&quota["limit"], &quota["used"], &quota["remaining"]), (&json!(4), &json!(2), &json!(2)));
    assert!(quota["reset"].as_f64().is_some_and(|reset| reset > 30.0 && reset <= 61.0), "{quota}");
    let shop = &told["tenants"]["shop"];
    assert_eq!(shop["credentials"], json!(["app", "dev", "group"]));
    let push = &shop["budgets"]["app"]["push"];
    assert_eq!(
        (&push["limit"], &push["used"], &push["remaining"], &push["waiting"], &push["window"]),
        (&json!(10), &json!(2), &json!(8), &json!(0), &json!(3600.0))
    );
    assert!(push["reset"].as_f64().is_some_and(|reset| reset > 3000.0), "{push}");
    assert_eq!(shop["budgets"]["app"]["broadcast"], Value::Null, "the caller may not broadcast");
    assert_eq!(names(&shop["budgets"]["dev"]), ["file"]);
    assert!(told["tenants"]["market"].is_null() && !told.to_string().contains("pusher"), "{told}");
    assert_eq!(vendor.requests().len(), 2, "it is answered here");
}

#[test]
fn each_caller_is_told_of_its_own_rights_alone() {
    let (_vendor, gateway) = start("");
    let pusher = told(&gateway, &whoami().bearer(Tokens::PUSHER));
    assert_eq!(
        (&pusher["name"], &pusher["scopes"], &pusher["quota"]),
        (&json!("pusher"), &json!(["push"]), &json!(null))
    );
    let budgets = &pusher["tenants"]["shop"]["budgets"];
    assert_eq!(names(budgets), ["app"]);
    assert_eq!(names(&budgets["app"]), ["broadcast", "push"]);
    let both = told(&gateway, &whoami().bearer(Tokens::BOTH));
    assert_eq!(names(&both["tenants"]), ["market", "shop"]);
    let market = told(&gateway, &whoami().bearer(Tokens::BOTH).header("X-JPush-Tenant", "market"));
    assert_eq!(names(&market["tenants"]), ["market"]);
    let text = [pusher, both, market].map(|told| told.to_string()).concat();
    assert!(Keys::SECRETS.iter().chain(&Tokens::ALL).all(|secret| !text.contains(secret)));
}

#[test]
fn a_caller_is_told_the_same_over_http_2_and_by_its_certificate() {
    let (authority, folder, vendor) = (Authority::new(), Folder::new(), Stub::good());
    let (certificate, key) = authority.sign(&["localhost"]);
    folder.write("tls.crt", certificate);
    folder.write("tls.key", key);
    folder.write("clients.pem", authority.pem());
    let mut config = Config::new(&vendor.url());
    config.listeners =
        "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: tls.crt, private_key: \
                        tls.key } ], client_ca: clients.pem, http2: true } }"
            .into();
    config.orders = "certificates: [ orders.corp ]".into();
    let gateway = Gateway::start_in(folder, &config);
    let params = CertificateParams::new(["orders.corp".to_owned()]).expect("a good name");
    let identity = authority.sign_client(&params);
    let over_http_2 = |client, token: Option<&str>| {
        let mut request = http::Request::get("https://localhost/_gateway/whoami");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = h2_get(client, gateway.address(), request.body(String::new()).expect("a request"));
        (answer.status().as_u16(), serde_json::from_slice::<Value>(answer.body()).expect("JSON"))
    };

    let by_token = authority.client(&["h2"]);
    let (status, told) = over_http_2(&by_token, Some(Tokens::ORDERS));
    assert_eq!((status, &told["name"]), (200, &json!("orders")));
    assert_eq!(
        names(&told["tenants"]["shop"]["budgets"]["app"]),
        ["device", "file", "push", "report", "schedule"]
    );
    let (status, refused) = over_http_2(&by_token, None);
    assert_eq!((status, &refused["error"]["code"]), (401, &json!(1002)));

    let by_certificate = authority.client_as(Some(&identity), &["h2"], ALL_VERSIONS);
    assert_eq!(over_http_2(&by_certificate, None), (200, told.clone()));
    let by_certificate = authority.client_as(Some(&identity), &["http/1.1"], ALL_VERSIONS);
    let mut tls = tls_connect(&by_certificate, gateway.address(), "localhost").expect("a handshake");
    let answer = tls.connection.call(&whoami());
    assert_eq!((answer.status, answer.json()), (200, told));
    assert_eq!(vendor.requests().len(), 0, "it is answered here");
}

#[test]
fn strangers_are_told_nothing_and_other_methods_are_refused() {
    let (_vendor, gateway) = start("");
    gateway.call(&whoami()).assert_refused(401, "unauthenticated", 1002);
    gateway.call(&whoami().bearer("noTokenOfAnyone000000000")).assert_refused(401, "unauthenticated", 1004);
    let refused = gateway.call(&Request::post("/_gateway/whoami", "").bearer(Tokens::ORDERS));
    refused.assert_refused(405, "method-not-allowed", 1001);
    assert_eq!(refused.header("Allow"), Some("GET, HEAD"));
    let head = gateway.call(&Request::new("HEAD", "/_gateway/whoami").bearer(Tokens::ORDERS));
    assert_eq!((head.status, head.body.len()), (200, 0));
    gateway.call(&Request::get("/_gateway/else").bearer(Tokens::ORDERS)).assert_refused(
        404,
        "unknown-endpoint",
        1001,
    );
}

#[test]
fn explain_knows_it() {
    let explained =
        run(&["explain", "--config", "config/demo.yaml", "GET", "/_gateway/whoami", "--as", "demo"]);
    assert!(stdout(&explained).contains("by the gateway itself"), "{explained:?}");
}
