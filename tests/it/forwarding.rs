//! Tests of forwarding: the vendor gets exactly the call, and the caller exactly the answer.

use crate::support::{Config, Gateway, Keys, PUSH, Request, Simulator, Stub, Tokens, basic, sha256_hex};

/// Headers from a caller that must not reach the vendor.
const NOISE: [(&str, &str); 14] = [
    ("Connection", "X-Private, keep-alive"),
    ("X-Private", "1"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Upgrade", "h2c"),
    ("Proxy-Authorization", "Basic eDp5"),
    ("Proxy-Connection", "keep-alive"),
    ("X-Forwarded-For", "10.1.2.3"),
    ("Cookie", "session=secret"),
    ("X-Jpush-Tenant", "shop"),
    ("Accept-Encoding", "gzip"),
    ("Accept-Language", "zh"),
    ("User-Agent", "somebody/1.0"),
    ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

fn noisy(request: Request) -> Request {
    NOISE.iter().fold(request, |request, (name, value)| request.header(name, value))
}

#[test]
fn the_vendor_gets_exactly_the_call() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let body = "{ \"platform\":\"all\",\t\"audience\" : {\"alias\":[\"a\\u0062\", \"安娜\"]}, \"notification\":{\"alert\":\"x\"} }\r\n";
    let request = Request::new("POST", "/v3/push?a=%20b&&c=%2F")
        .header("content-type", "Text/Plain;Charset=utf-8")
        .header("accept", "application/json")
        .header("x-request-id", "abc-1")
        .bearer(Tokens::ORDERS)
        .body(body);
    let answer = gateway.call(&noisy(request));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = vendor.only();
    assert_eq!(received.line, "POST /v3/push?a=%20b&&c=%2F HTTP/1.1");
    assert_eq!(received.body, body.as_bytes());
    let names =
        ["Accept", "Authorization", "Content-Length", "Content-Type", "Host", "User-Agent", "X-Request-Id"];
    assert_eq!(received.names(), names);
    let agent = concat!("jpush-gateway/", env!("CARGO_PKG_VERSION"));
    let values = [
        ("Accept", "application/json"),
        ("Authorization", &basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET)),
        ("Content-Length", &body.len().to_string()),
        ("Content-Type", "Text/Plain;Charset=utf-8"),
        ("Host", &vendor.address.to_string()),
        ("User-Agent", agent),
        ("X-Request-Id", "abc-1"),
    ];
    for (name, value) in values {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
}

#[test]
fn what_was_not_sent_is_not_made_up() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let bare = Request::get("/v3/tags").bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&bare).status, 200);
    let received = vendor.only();
    // Every request gets an id; a GET has no body and so no length.
    assert_eq!(received.names(), ["Authorization", "Host", "User-Agent", "X-Request-Id"]);
}

#[test]
fn a_chunked_body_is_framed_anew_and_its_trailers_stay() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let head = Request::post("/v3/push", "").bearer(Tokens::ORDERS).head();
    let (first, second) = PUSH.split_at(20);
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\nTrailer: X-Evil\r\n\r\n{:x};ext=1\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\nX-Evil: 1\r\n\r\n",
        first.len(),
        second.len(),
    );
    let (answer, _) = gateway.exchange(chunked);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = vendor.only();
    assert_eq!(received.body, PUSH.as_bytes());
    assert_eq!(received.header("Content-Length"), Some(&*PUSH.len().to_string()));
    assert!(!received.names().iter().any(|name| ["Transfer-Encoding", "Trailer", "X-Evil"].contains(name)));
}

#[test]
fn a_body_where_none_is_taken_is_dropped() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let request = Request::get("/v3/push/quota").body("null").bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&request).status, 200);
    let received = vendor.only();
    assert!(received.body.is_empty());
    assert_eq!(received.header("Content-Length"), None);
}

#[test]
fn encrypted_bodies_and_their_type_travel() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let body = r#"{"platform":"all","audience":"all","payload":"c2VjcmV0"}"#;
    let request = Request::post("/v3/push", body).header("X-Encrypt-Type", "SM2").bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&request).status, 200);
    let received = vendor.only();
    assert_eq!((received.header("X-Encrypt-Type"), &*received.body), (Some("SM2"), body.as_bytes()));
}

#[test]
fn trace_context_travels_where_it_is_wanted() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.vendor = "forward_trace: true".into();
    let gateway = Gateway::start(&config);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = Request::get("/v3/tags").bearer(Tokens::ORDERS);
    let request = request.header("traceparent", parent).header("tracestate", "a=b");
    assert_eq!(gateway.call(&request).status, 200);
    let received = vendor.only();
    assert_eq!(received.header("Traceparent"), Some(parent));
    assert_eq!(received.header("Tracestate"), Some("a=b"));
}

#[test]
fn the_app_gets_exactly_the_answer() {
    let body = "{ \"msg_id\": 58546795264977810 ,\"sendno\":\"0\"}\n";
    let vendor = Stub::answering(format!(
        "HTTP/1.1 200 Fine\r\nContent-Type: application/json;charset=UTF-8\r\nServer: nginx\r\nSet-Cookie: a=b\r\n\
         Set-Cookie: c=d\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=60\r\n\
         Proxy-Authenticate: Basic\r\nTrailer: X-T\r\nUpgrade: h2c\r\nX-Powered-By: PHP\r\nX-Twice: 1\r\nX-Twice: 2\r\n\
         X-Rate-Limit-Limit: 600\r\nX-Rate-Limit-Remaining: 599\r\nX-Rate-Limit-Reset: 51\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let request = Request::post("/v3/push", PUSH).basic(Keys::SHOP_APP, Tokens::ORDERS);
    let answer = gateway.call(&request.header("X-Request-Id", "my-id"));
    assert_eq!((answer.status, answer.text().as_str()), (200, body));
    for gone in ["Server", "Set-Cookie", "X-Hop", "Keep-Alive", "Proxy-Authenticate", "Trailer", "Upgrade"] {
        assert!(!answer.has(gone), "{gone}: {answer:?}");
    }
    assert!(!answer.has("Connection") && !answer.has("X-Jpush-Gateway-Reason"), "{answer:?}");
    let kept = [
        ("Content-Type", "application/json;charset=UTF-8"),
        ("X-Powered-By", "PHP"),
        ("X-Request-Id", "my-id"),
        ("X-Rate-Limit-Limit", "600"),
        ("X-Rate-Limit-Quota", "600"),
        ("X-Rate-Limit-Remaining", "599"),
        ("X-Rate-Limit-Reset", "51"),
        ("Ratelimit-Policy", "\"push\";q=600;w=60"),
    ];
    for (name, value) in kept {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    let twice = answer.headers.iter().filter(|(name, _)| name == "X-Twice").map(|(_, value)| &**value);
    assert_eq!(twice.collect::<Vec<_>>(), ["1", "2"]);
    assert!(answer.header("Ratelimit").is_some_and(|value| value.starts_with("\"push\";r=599;t=")));
}

/// Only the gateway may send its own headers.
#[test]
fn the_vendor_does_not_speak_for_the_gateway() {
    let vendor = Stub::answering(
        "HTTP/1.1 200 OK\r\nX-JPush-Gateway-Reason: vendor-unreachable\r\nx-jpush-gateway-Anything: 1\r\n\
         X-Jpush-Gateway-Reason: again\r\nPREFERENCE-APPLIED: wait=5\r\nX-JPush-Cid: 1\r\nX-Jpush-Other: 1\r\n\
         X-Request-Id: theirs\r\nContent-Length: 2\r\n\r\n{}",
    );
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    for request in [Request::post("/v3/push", PUSH), Request::get("/v3/tags")] {
        let answer = gateway.call(&request.bearer(Tokens::ORDERS).header("X-Request-Id", "mine"));
        assert_eq!((answer.status, answer.header("X-Request-Id")), (200, Some("mine")));
        let said: Vec<_> = answer.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let ours = |name: &String| name.starts_with("x-jpush-gateway-") || name == "x-jpush-cid";
        assert!(!said.iter().any(|name| ours(name) || name == "preference-applied"), "{said:?}");
        assert!(answer.has("X-Jpush-Other"), "the rest passes: {said:?}");
    }
}

#[test]
fn the_vendors_errors_pass_as_they_are() {
    for (status, body) in [
        (400, r#"{"error":{"code":1003,"message":"bad"}}"#),
        (403, r#"{"error":{"code":2007,"message":"no"}}"#),
        (404, r#"{"code":7002,"message":"not there"}"#),
        (429, r#"{"error":{"code":2002,"message":"Rate limit exceeded"}}"#),
        (500, r#"{"error":{"code":1000,"message":"oops"}}"#),
    ] {
        let vendor = Stub::answering(format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let gateway = Gateway::start(&Config::new(&vendor.url()));
        let answer = gateway.call(&Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS));
        assert_eq!((answer.status, answer.text().as_str(), answer.reason()), (status, body, None));
    }
}

#[test]
fn request_ids_are_kept_or_made() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let longest = "~".repeat(128);
    let id = |given: Option<&str>| {
        let request = Request::get("/v3/tags").bearer(Tokens::ORDERS);
        let request = given.iter().fold(request, |request, id| request.header("X-Request-Id", id));
        gateway.call(&request).header("X-Request-Id").expect("an id").to_owned()
    };
    for kept in ["a", "urn:x#1!", &longest] {
        assert_eq!(id(Some(kept)), kept);
        assert_eq!(
            vendor.requests().last().and_then(|last| last.header("X-Request-Id").map(str::to_owned)),
            Some(kept.to_owned())
        );
    }
    let too_long = "x".repeat(129);
    for other in [None, Some(""), Some("two words"), Some("ümlaut"), Some(&*too_long)] {
        let made = id(other);
        assert_eq!(made.len(), 36, "{other:?}: {made}");
        assert_eq!(made.matches('-').count(), 4);
    }
    assert_ne!(id(None), id(None));
    let refused = gateway.call(&Request::get("/v3/tags").header("X-Request-Id", "mine"));
    assert_eq!(refused.header("X-Request-Id"), Some("mine"));
}

#[test]
fn two_tenants_with_their_own_base_urls() {
    let (shop, market) = (Stub::good(), Stub::good());
    let mut config = Config::new(&market.url());
    config.shop = format!("vendor: {{ api: \"{}\" }}", shop.url());
    let gateway = Gateway::start(&config);
    for tenant in ["shop", "market"] {
        let answer = gateway.call(&Request::post("/v3/push", PUSH).basic(tenant, Tokens::BOTH));
        assert_eq!(answer.status, 200);
    }
    let authorization = |stub: &Stub| stub.only().header("Authorization").map(str::to_owned);
    assert_eq!(authorization(&shop), Some(basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET)));
    assert_eq!(authorization(&market), Some(basic(Keys::MARKET_APP, Keys::MARKET_APP_SECRET)));
    // Only one of the hosts has another base URL.
    assert_eq!(gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS)).status, 200);
    assert_eq!((shop.requests().len(), market.requests().len()), (1, 2));
}

#[test]
fn beijing_has_its_own_paths() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.shop = format!(
        "region: beijing\n    vendor: {{ api: \"{0}\", device: \"{0}\", report: \"{0}\" }}",
        vendor.url()
    );
    let gateway = Gateway::start(&config);
    let rows = [
        ("/v3/schedules/", "/v3/push/schedules"),
        ("/v3/devices/r1?x=1", "/v3/device/r1?x=1"),
        ("/v3/aliases/a", "/v3/device/aliases/a"),
        ("/v3/tags", "/v3/device/tags"),
        ("/v3/received/detail?msg_ids=1", "/v3/report/received/detail?msg_ids=1"),
        ("/v3/push/cid?count=2", "/v3/push/cid?count=2"),
    ];
    for (path, sent) in rows {
        assert_eq!(gateway.call(&Request::get(path).bearer(Tokens::ORDERS)).status, 200, "{path}");
        let line = vendor.requests().last().expect("a request").line.clone();
        assert_eq!(line, format!("GET {sent} HTTP/1.1"));
    }
}

#[test]
fn the_simulators_journal_agrees() {
    let vendor = Simulator::start();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let request = Request::post("/v3//push/?x=1", PUSH).header("X-Request-Id", "j1").bearer(Tokens::ORDERS);
    let answer = gateway.call(&noisy(request));
    assert_eq!(answer.status, 200);
    let journal = vendor.journal();
    assert_eq!(journal.len(), 1);
    let entry = &journal[0];
    assert_eq!(
        (&entry["method"], &entry["path"], &entry["query"]),
        (&"POST".into(), &"/v3/push".into(), &"x=1".into())
    );
    assert_eq!((&entry["key"], &entry["counted"]), (&Keys::SHOP_APP.into(), &true.into()));
    assert_eq!(entry["body_sha256"], sha256_hex(PUSH.as_bytes()));
    let names: Vec<_> = entry["headers"].as_object().expect("an object").keys().cloned().collect();
    assert_eq!(names, ["content-length", "content-type", "host", "user-agent", "x-request-id"]);
}
