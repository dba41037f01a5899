//! Tests of authentication and authorization: callers, tenants, and every reason to refuse.

use crate::support::{Answer, Config, Gateway, Keys, PUSH, Request, Simulator, Tokens, basic};

/// A gateway whose vendor is the simulator.
fn start() -> (Gateway, Simulator) {
    let vendor = Simulator::start();
    (Gateway::start(&Config::new(&vendor.url())), vendor)
}

fn push() -> Request {
    Request::post("/v3/push", PUSH)
}

/// The key of the last call that the vendor received.
fn last_key(vendor: &Simulator) -> String {
    vendor.journal().last().expect("a call")["key"].as_str().expect("a key").to_owned()
}

#[test]
fn every_form_of_credentials_reaches_the_right_tenant() {
    let (gateway, vendor) = start();
    let group_key = format!("group-{}", Keys::SHOP_GROUP);
    let rows: [(&str, Request, &str); 13] = [
        ("app key", push().basic(Keys::SHOP_APP, Tokens::BOTH), Keys::SHOP_APP),
        ("dev key", push().basic(Keys::SHOP_DEV, Tokens::BOTH), Keys::SHOP_APP),
        ("group key", push().basic(&group_key, Tokens::BOTH), Keys::SHOP_APP),
        ("name", push().basic("shop", Tokens::BOTH), Keys::SHOP_APP),
        ("group name", push().basic("group-shop", Tokens::BOTH), Keys::SHOP_APP),
        ("other tenant", push().basic(Keys::MARKET_APP, Tokens::BOTH), Keys::MARKET_APP),
        ("other name", push().basic("market", Tokens::BOTH), Keys::MARKET_APP),
        ("bearer", push().bearer(Tokens::ORDERS), Keys::SHOP_APP),
        (
            "bearer and tenant",
            push().bearer(Tokens::BOTH).header("X-JPush-Tenant", "market"),
            Keys::MARKET_APP,
        ),
        (
            "unpadded",
            push().header("Authorization", basic("shop", Tokens::ORDERS).trim_end_matches('=')),
            Keys::SHOP_APP,
        ),
        (
            "scheme in any case",
            push().header("Authorization", &basic("shop", Tokens::ORDERS).replace("Basic", "bAsIc")),
            Keys::SHOP_APP,
        ),
        (
            "a group operation",
            Request::post("/v3/grouppush", PUSH).basic(Keys::SHOP_APP, Tokens::ORDERS),
            &group_key,
        ),
        ("a group report", Request::get("/v3/group/users").basic(&group_key, Tokens::ORDERS), &group_key),
    ];
    for (what, request, key) in rows {
        let answer = gateway.call(&request);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        assert_eq!(last_key(&vendor), key, "{what}");
    }
}

#[test]
fn files_take_the_dev_key_on_request() {
    let (gateway, vendor) = start();
    let list = || Request::get("/v3/files");
    let by_user = gateway.call(&list().basic(Keys::SHOP_DEV, Tokens::ORDERS));
    assert_eq!((by_user.status, last_key(&vendor).as_str()), (200, Keys::SHOP_DEV));
    let wish = ("X-JPush-Credential", "dev");
    let by_header = gateway.call(&list().basic(Keys::SHOP_APP, Tokens::ORDERS).header(wish.0, wish.1));
    assert_eq!((by_header.status, last_key(&vendor).as_str()), (200, Keys::SHOP_DEV));
    let as_app = gateway.call(&list().basic(Keys::SHOP_APP, Tokens::ORDERS));
    assert_eq!((as_app.status, last_key(&vendor).as_str()), (200, Keys::SHOP_APP));
    let calls = vendor.journal().len();
    // The dev key reaches every app of the account, so it needs the scope `group` as well.
    let no_group = gateway.call(&list().basic(Keys::SHOP_DEV, Tokens::FILER));
    no_group.assert_refused(403, "forbidden", 1105);
    let no_group = gateway.call(&list().basic("shop", Tokens::FILER).header(wish.0, wish.1));
    no_group.assert_refused(403, "forbidden", 1105);
    // A tenant that has no dev credential.
    let none = gateway.call(&list().basic("market", Tokens::BOTH).header(wish.0, wish.1));
    none.assert_refused(403, "forbidden", 1105);
    assert_eq!(vendor.journal().len(), calls, "refusals are never sent");
}

#[test]
fn nobody_known_is_told_so_in_the_codes_of_the_family() {
    let (gateway, vendor) = start();
    let wrong = "notATokenOfAnyone0000000";
    let families =
        [("/v3/push", 1002, 1004), ("/v3/files/alias", 1101, 1101), ("/v4/image/oppo", 23001, 23001)];
    for (path, missing, unknown) in families {
        let request = || Request::post(path, PUSH);
        let none = [
            request(),
            request().header("Authorization", "Basic"),
            request().header("Authorization", "Basic !!!"),
            request().header("Authorization", "Basic c2hvcA=="),
            request().header("Authorization", "Digest username=x"),
        ];
        for request in none {
            let answer = gateway.call(&request);
            answer.assert_refused(401, "unauthenticated", missing);
            assert_eq!(answer.header("Www-Authenticate"), Some("Basic realm=\"jpush-gateway\""));
        }
        let bad = [
            request().basic(Keys::SHOP_APP, wrong),
            request().basic(Keys::SHOP_APP, ""),
            request().basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET),
            request().bearer(wrong),
            request().bearer(&"x".repeat(2_000)),
        ];
        for request in bad {
            let answer = gateway.call(&request);
            answer.assert_refused(401, "unauthenticated", unknown);
            assert_eq!(answer.header("Www-Authenticate"), Some("Basic realm=\"jpush-gateway\""));
        }
    }
    assert_eq!(vendor.journal().len(), 0);
}

#[test]
fn a_caller_is_authenticated_before_it_learns_about_the_table() {
    let (gateway, _vendor) = start();
    for target in ["/v3/nothing", "/v3/push/%2e%2e", "/v3/push"] {
        let answer = gateway.call(&Request::get(target));
        answer.assert_refused(401, "unauthenticated", 1002);
        assert!(!answer.has("Allow"));
    }
}

#[test]
fn what_is_not_granted_is_refused_alike() {
    let (gateway, vendor) = start();
    let rows: [(&str, Request, u64); 7] = [
        ("unknown tenant", push().basic("nowhere", Tokens::ORDERS), 2007),
        ("tenant of others", push().basic(Keys::MARKET_APP, Tokens::ORDERS), 2007),
        ("by header", push().bearer(Tokens::ORDERS).header("X-JPush-Tenant", "market"), 2007),
        ("scope", Request::get("/v3/tags").basic("shop", Tokens::PUSHER), 2007),
        ("scope of files", Request::get("/v3/files").basic("shop", Tokens::PUSHER), 1105),
        ("scope of v4", Request::post("/v4/image/oppo", "{}").basic("shop", Tokens::PUSHER), 23001),
        ("no group credential", Request::post("/v3/grouppush", PUSH).basic("market", Tokens::BOTH), 2007),
    ];
    let mut messages: Vec<String> = Vec::new();
    for (what, request, code) in rows {
        let answer = gateway.call(&request);
        assert_eq!(answer.status, 403, "{what}");
        answer.assert_refused(403, "forbidden", code);
        messages.push(answer.json()["error"]["message"].to_string());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "all alike: {messages:?}");
    assert_eq!(vendor.journal().len(), 0);
}

#[test]
fn several_tenants_and_none_named() {
    let (gateway, vendor) = start();
    gateway.call(&push().bearer(Tokens::BOTH)).assert_refused(400, "tenant-required", 1002);
    // Two tenants fit, and the header selects one.
    let decided = push().basic("", Tokens::BOTH).header("X-JPush-Tenant", "shop");
    let answer = gateway.call(&decided);
    assert_eq!((answer.status, last_key(&vendor).as_str()), (200, Keys::SHOP_APP), "{}", answer.text());
    let twice =
        push().bearer(Tokens::BOTH).header("X-JPush-Tenant", "shop").header("X-JPush-Tenant", "market");
    gateway.call(&twice).assert_refused(400, "bad-request", 1003);
    let odd = Request::get("/v3/files").bearer(Tokens::ORDERS).header("X-JPush-Credential", "root");
    gateway.call(&odd).assert_refused(400, "bad-request", 1003);
}

#[test]
fn unknown_endpoints_and_methods() {
    let (gateway, vendor) = start();
    let unknown = [
        ("GET", "/v3/nothing", 1001),
        ("GET", "/v5/push", 1001),
        ("DELETE", "/v3/push/12a", 1001),
        ("GET", "/v3/PUSH", 1001),
        ("POST", "/v4/nothing", 21001),
    ];
    for (method, path, code) in unknown {
        let answer = gateway.call(&Request::new(method, path).basic("shop", Tokens::ORDERS));
        answer.assert_refused(404, "unknown-endpoint", code);
    }
    let methods: [(&str, &str, u64, &[&str]); 5] = [
        ("GET", "/v3/push", 1001, &["POST"]),
        ("PATCH", "/v3/schedules", 1001, &["GET", "POST"]),
        ("POST", "/v3/schedules/abc", 1001, &["DELETE", "GET", "PUT"]),
        ("OPTIONS", "/v3/tags/x", 1001, &["DELETE", "POST"]),
        ("GET", "/v4/image/oppo", 21001, &["POST"]),
    ];
    for (method, path, code, allowed) in methods {
        let answer = gateway.call(&Request::new(method, path).basic("shop", Tokens::ORDERS));
        answer.assert_refused(405, "method-not-allowed", code);
        let mut allow: Vec<_> = answer.header("Allow").expect("Allow").split(", ").collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{method} {path}");
    }
    assert_eq!(vendor.journal().len(), 0);
}

#[test]
fn refusals_come_in_the_envelope_of_their_operation() {
    let (gateway, _vendor) = start();
    let refused = |method: &str, path: &str| -> Answer {
        gateway.call(&Request::new(method, path).body("{}").basic("shop", Tokens::FILER))
    };
    // The envelope is the same before the caller is known, and where the path has no such method.
    let strange = |method: &str, path: &str| gateway.call(&Request::new(method, path).body("{}"));
    let no_such = |path: &str| gateway.call(&Request::new("PATCH", path).basic("shop", Tokens::FILER));
    for (method, path) in
        [("GET", "/v3/push/quota"), ("POST", "/v3/push_plan/create"), ("GET", "/v3/push_plan/list")]
    {
        for (answer, code) in
            [(refused(method, path), 2007), (strange(method, path), 1002), (no_such(path), 1001)]
        {
            let json = answer.json();
            let codes = (&json["code"], &json["error"]["code"]);
            assert_eq!(codes, (&code.into(), &code.into()), "{path}: {json}");
            assert_eq!(json["message"], json["error"]["message"]);
            assert_eq!(json.as_object().expect("an object").len(), 3);
        }
    }
    for path in ["/v3/push/template", "/v3/push/template/schedule"] {
        for (answer, code) in
            [(refused("POST", path), 2007), (strange("POST", path), 1002), (no_such(path), 1001)]
        {
            let json = answer.json();
            assert_eq!(json["code"], code, "{path}: {json}");
            assert!(json["message"].is_string() && json.get("error").is_none());
        }
    }
}

#[test]
fn a_region_that_is_off_has_no_v4() {
    let vendor = Simulator::start();
    let mut config = Config::new(&vendor.url());
    config.image_v4 = "null".into();
    let gateway = Gateway::start(&config);
    let v4 = Request::post("/v4/image/oppo", r#"{"big_picture_url":"http://x"}"#);
    let answer = gateway.call(&v4.basic("shop", Tokens::ORDERS));
    answer.assert_refused(404, "unknown-endpoint", 21001);
}
