//! Tests of the reach of calls: the rights to reach everybody or a target list, and the budgets that this takes, for
//! every operation and every spelling of the body.

use crate::support::{Answer, Config, Gateway, PUSH, Request, Simulator, Stub, Tokens, sha256_hex};

const PLANNER: &str = "plannerTokenForTests2026";
const EVERYBODY: &str = r#""all""#;
const JAVA: &str = r#"{"all":true,"file":false}"#;
const NOT: &str = r#"{"tag_not":["a"]}"#;
const SOME: &str = r#"{"tag":["a"]}"#;
const LIST: &str = r#"{"file":{"file_id":"e61b4d98b57de4ff4a0d3a11-5a2ff3b3-8fb2-4d2a-9c6b-0d2b9ab2fd53"}}"#;

/// `orders` may not broadcast; `planner` has every scope but `file`.
fn config(vendor_url: &str) -> Config {
    let mut config = Config::new(vendor_url);
    let planner = sha256_hex(PLANNER.as_bytes());
    config.orders = format!(
        "broadcast: false\n  planner: {{ tokens: [ {{ sha256: {planner} }} ], tenants: [ shop ], allow: [ push, group, schedule ] }}"
    );
    config
}

/// A call, and a function that builds its body around an audience.
struct Call {
    method: &'static str,
    path: &'static str,
    body: fn(&str) -> String,
}

fn push(audience: &str) -> String {
    PUSH.replace(r#"{"alias":["anna"]}"#, audience)
}

fn schedule(audience: &str) -> String {
    let push = push(audience);
    format!(
        r#"{{"name":"n","enabled":true,"trigger":{{"single":{{"time":"2030-11-22 18:00:00"}}}},"push":{push}}}"#
    )
}

fn template(audience: &str) -> String {
    format!(r#"{{"id":"t","params":[{{"audience":{SOME}}},{{"trace_id":"x","audience":{audience}}}]}}"#)
}

fn batch(audience: &str) -> String {
    format!(r#"{{"pushlist":{{"c":{{"platform":"all","target":"r","audience":{audience}}}}}}}"#)
}

const DELIVERING: [Call; 8] = [
    Call { method: "POST", path: "/v3/push", body: push },
    Call { method: "POST", path: "/v3/grouppush", body: push },
    Call { method: "POST", path: "/v3/schedules", body: schedule },
    Call { method: "PUT", path: "/v3/schedules/17349f00-0852-11e6-91b1-0021f653c902", body: schedule },
    Call { method: "POST", path: "/v3/push/template", body: template },
    Call { method: "POST", path: "/v3/push/template/schedule", body: template },
    Call { method: "POST", path: "/v3/push/batch/regid/single", body: batch },
    Call { method: "POST", path: "/v3/push/batch/alias/single", body: batch },
];

impl Call {
    fn to(&self, audience: &str, token: &str) -> Request {
        Request::new(self.method, self.path).body((self.body)(audience)).basic("shop", token)
    }
}

#[track_caller]
fn assert_code(answer: &Answer, status: u16, reason: &str, code: u64) {
    let json = answer.json();
    let said = json["error"]["code"].as_u64().or(json["code"].as_u64());
    assert_eq!((answer.status, answer.reason(), said), (status, Some(reason), Some(code)), "{json}");
}

#[test]
fn everybody_is_out_of_reach_without_the_right_whatever_the_call() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&config(&vendor.url()));
    let wide = [
        EVERYBODY,
        r#"" ALL""#,
        r#"{"all":true}"#,
        NOT,
        "{}",
        r#"{"tag":[],"tag_not":["a"]}"#,
        r#"{"new":["a"]}"#,
        r#"{"tag_not":["x"],"alias":["\u0000"]}"#,
        r#"{"tag":["a"]},"audıence":"all""#,
    ];
    for call in &DELIVERING {
        for audience in wide {
            let refused = gateway.call(&call.to(audience, Tokens::ORDERS));
            assert_code(&refused, 403, "forbidden", 2007);
            assert!(refused.text().contains("may not push to everybody"), "{}", refused.text());
        }
    }
    // The schedule may have the audience that its push is not given here.
    let update = r#"{"push":{"platform":"all","notification":{"alert":"a"}}}"#;
    let update = Request::new("PUT", DELIVERING[3].path).body(update).basic("shop", Tokens::ORDERS);
    assert_code(&gateway.call(&update), 403, "forbidden", 2007);
    assert_eq!(vendor.requests().len(), 0);
    for (number, call) in DELIVERING.iter().enumerate() {
        let answer = gateway.call(&call.to(SOME, Tokens::ORDERS));
        assert_eq!(
            (answer.status, vendor.requests().len()),
            (200, number + 1),
            "{} {}",
            call.path,
            answer.text()
        );
    }
    // The template may have an audience of its own.
    for body in [r#"{"id":"t"}"#, r#"{"id":"t","params":[{"keys":{}}]}"#] {
        let request = Request::post("/v3/push/template", body);
        assert_code(&gateway.call(&request.clone().basic("shop", Tokens::ORDERS)), 403, "forbidden", 2007);
        assert_eq!(gateway.call(&request.basic("shop", Tokens::BOTH)).status, 200);
    }
    assert_eq!((gateway.used("app", "push"), gateway.used("group", "push")), (7, 1));
}

#[test]
fn whoever_may_broadcast_reaches_whom_the_vendor_takes() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&config(&vendor.url()));
    for call in &DELIVERING {
        for audience in [EVERYBODY, NOT, SOME, "{}", r#"{"new":["a"]}"#, r#"{"all":true}"#] {
            let answer = gateway.call(&call.to(audience, Tokens::BOTH));
            assert_eq!(answer.status, 200, "{} {audience}: {}", call.path, answer.text());
        }
    }
}

#[test]
fn a_validation_reaches_nobody() {
    let vendor = Simulator::start();
    let mut config = config(&vendor.url());
    config.budgets = "broadcast: { limit: 1, window: 24h }".into();
    let gateway = Gateway::start(&config);
    for audience in [EVERYBODY, NOT, SOME, r#"{"tag":["a"],"new":1}"#] {
        let answer =
            gateway.call(&Request::post("/v3/push/validate", &push(audience)).bearer(Tokens::ORDERS));
        assert_eq!(answer.status, 200, "{audience}: {}", answer.text());
    }
    assert_eq!(gateway.used("app", "broadcast"), 0);
}

#[test]
fn everybody_has_a_budget_whatever_the_call() {
    let vendor = Stub::good();
    let mut config = config(&vendor.url());
    config.budgets = "broadcast: { limit: 100, window: 24h }".into();
    let gateway = Gateway::start(&config);
    for call in &DELIVERING {
        let credential = if call.path.starts_with("/v3/group") { "group" } else { "app" };
        let before = gateway.used(credential, "broadcast");
        for (audience, drawn) in
            [(EVERYBODY, 1), (NOT, 1), (SOME, 1), (r#"{"all":true}"#, 2), (r#"{"all":false,"tag":["a"]}"#, 2)]
        {
            assert_eq!(gateway.call(&call.to(audience, Tokens::BOTH)).status, 200);
            assert_eq!(gateway.used(credential, "broadcast"), before + drawn, "{} {audience}", call.path);
        }
    }
    // A call over the limit is refused with the vendor's code and in the envelope of its operation.
    let mut config = Config::new(&vendor.url());
    config.budgets = "broadcast: { limit: 1, window: 24h }".into();
    let gateway = Gateway::start(&config);
    let sent = vendor.requests().len();
    let everybody = Request::post("/v3/push/template", &template(EVERYBODY)).bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&everybody).status, 200);
    assert_code(&gateway.call(&everybody), 429, "budget-exhausted", 2008);
    assert_eq!(vendor.requests().len(), sent + 1);
}

#[test]
fn a_target_list_takes_the_scope_and_a_slot_of_files() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&config(&vendor.url()));
    let (mut used, mut sent) = (0, 0);
    for call in DELIVERING.iter().filter(|call| !matches!(call.path, "/v3/push" | "/v3/grouppush")) {
        assert_code(&gateway.call(&call.to(LIST, PLANNER)), 403, "forbidden", 2007);
        assert_eq!((gateway.used("app", "file"), vendor.requests().len()), (used, sent), "{}", call.path);
        assert_eq!(gateway.call(&call.to(LIST, Tokens::BOTH)).status, 200, "{}", call.path);
        (used, sent) = (used + 1, sent + 1);
        assert_eq!((gateway.used("app", "file"), vendor.requests().len()), (used, sent), "{}", call.path);
        assert_eq!(gateway.call(&call.to(SOME, PLANNER)).status, 200, "{}", call.path);
        sent += 1;
    }
    assert_eq!(gateway.used("app", "file"), used);
}

#[test]
fn pushes_of_templates_are_judged_before_they_cost_a_call() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let tags = vec![r#""t""#; 21].join(",");
    for (body, code) in [
        ("[]".to_owned(), 1003),
        (r#"{"id":"t","params":{}}"#.to_owned(), 1003),
        (r#"{"id":"t","params":["x"]}"#.to_owned(), 1003),
        (template(&format!(r#"{{"tag":[{tags}]}}"#)), 1003),
        (template(r#"{"file":{}}"#), 1002),
        (template(r#"{"file":{"file_id":""}}"#), 1003),
        (template(r#"{"file":{"file_id":"x"},"tag":["a"]}"#), 1003),
    ] {
        for path in ["/v3/push/template", "/v3/push/template/schedule"] {
            let answer = gateway.call(&Request::post(path, &body).bearer(Tokens::ORDERS));
            assert_code(&answer, 400, "invalid-body", code);
            assert!(answer.json().get("error").is_none(), "flat alone");
        }
    }
    assert_eq!((vendor.requests().len(), gateway.used("app", "push")), (0, 0));
}

fn encrypted(path: &str, body: impl Into<Vec<u8>>, token: &str) -> Request {
    Request::new("POST", path).header("X-Encrypt-Type", "SM2").body(body).basic("shop", token)
}

#[test]
fn an_encrypted_push_takes_the_right_to_reach_everybody() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&config(&vendor.url()));
    let some = format!(r#"{{"audience":{SOME},"payload":"AAAA"}}"#);
    let utf16: Vec<u8> = some.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let everybody = format!(r#"{{"audience":{JAVA},"payload":"AAAA"}}"#);
    let bodies: [&[u8]; 6] = [
        some.as_bytes(),
        everybody.as_bytes(),
        br#"{"payload":"AAAA"}"#,
        &utf16,
        b"\xFF",
        b"neither JSON nor anything",
    ];
    for path in ["/v3/push", "/v3/grouppush"] {
        for body in bodies {
            let refused = gateway.call(&encrypted(path, body, Tokens::ORDERS));
            assert_code(&refused, 403, "forbidden", 2007);
            let sent = vendor.requests().len();
            assert_eq!(gateway.call(&encrypted(path, body, Tokens::BOTH)).status, 200);
            let received = &vendor.requests()[sent];
            assert_eq!((received.header("X-Encrypt-Type"), &*received.body), (Some("SM2"), body));
        }
    }
    // A target list needs its scope here as well.
    let list = format!(r#"{{"audience":{LIST},"payload":"AAAA"}}"#);
    assert_code(&gateway.call(&encrypted("/v3/push", list, PLANNER)), 403, "forbidden", 2007);
    let java = r#"{"audience":{"all":false,"file":false,"targets":[]},"payload":"AAAA"}"#;
    assert_eq!(gateway.call(&encrypted("/v3/push", java, PLANNER)).status, 200);
}

#[test]
fn an_encrypted_push_draws_on_the_budget_of_broadcasts_unless_it_says_whom_it_is_for() {
    let vendor = Stub::good();
    let mut config = config(&vendor.url());
    config.budgets = "broadcast: { limit: 100, window: 24h }".into();
    let gateway = Gateway::start(&config);
    let some = format!(r#"{{"audience":{SOME},"payload":"AAAA"}}"#);
    let utf16: Vec<u8> = some.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let java = r#"{"audience":{"all":false,"file":false,"targets":[]},"payload":"AAAA"}"#;
    let rows: [(&[u8], u64); 7] = [
        (some.as_bytes(), 0),
        (java.as_bytes(), 0),
        (br#"{"audience":{"all":true,"file":false},"payload":"AAAA"}"#, 1),
        (br#"{"audience":"all","payload":"AAAA"}"#, 2),
        (br#"{"payload":"AAAA"}"#, 3),
        (&utf16, 4),
        (br#"{"audience":{"tag":["a"]},"payload":"AAAA"/**/}"#, 5),
    ];
    for (body, drawn) in rows {
        assert_eq!(gateway.call(&encrypted("/v3/push", body, Tokens::BOTH)).status, 200);
        assert_eq!(gateway.used("app", "broadcast"), drawn, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn the_kind_of_encryption_says_nothing_on_any_other_call() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&config(&vendor.url()));
    let media = "jgmedia-2-14b23451-0001-41ce-89d9-987b465122da";
    let payload = format!(r#"{{"audience":{SOME},"payload":"AAAA"}}"#);
    let mut rows: Vec<(String, &str, String)> = vec![
        ("/v3/push/validate".into(), "POST", payload.clone()),
        ("/v3/push/file".into(), "POST", payload.clone()),
        ("/v3/grouppush/file".into(), "POST", payload.clone()),
        ("/v3/schedules".into(), "POST", payload),
        ("/v3/push/template".into(), "POST", "AAAA".into()),
        ("/v3/push/batch/alias/single".into(), "POST", "AAAA".into()),
        ("/v3/devices/r1".into(), "POST", "AAAA".into()),
        ("/v3/images/byurls".into(), "POST", "{}".into()),
        (format!("/v3/images/byurls/{media}"), "PUT", "{}".into()),
        ("/v3/images/byfiles".into(), "POST", "AAAA".into()),
        ("/v3/files/alias".into(), "POST", "AAAA".into()),
        ("/v4/image/oppo".into(), "POST", "{}".into()),
        ("/v3/push/cid?count=0".into(), "GET", String::new()),
    ];
    // Not with an empty value either.
    for empty in ["", " "] {
        let request = Request::post("/v3/push", "{}").header("X-Encrypt-Type", empty).bearer(Tokens::ORDERS);
        assert_code(&gateway.call(&request), 400, "invalid-body", 1002);
    }
    for (path, method, body) in &rows {
        let request = Request::new(method, path).header("X-Encrypt-Type", "SM2").body(body.clone());
        let answer = gateway.call(&request.bearer(Tokens::ORDERS));
        assert_eq!(answer.status, 400, "{method} {path}: {}", answer.text());
    }
    assert_eq!(vendor.requests().len(), 0);
    rows.truncate(1);
    rows[0].2 = push(SOME);
    rows.push(("/v3/devices/r1".into(), "POST", r#"{"alias":"a"}"#.into()));
    rows.push(("/v3/push/quota".into(), "GET", String::new()));
    for (path, method, body) in rows {
        let request = Request::new(method, &path).header("X-Encrypt-Type", "SM2").body(body);
        assert_eq!(gateway.call(&request.bearer(Tokens::ORDERS)).status, 200, "{path}");
        let received = vendor.requests().pop().expect("it was sent");
        assert!(
            received.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("x-encrypt-type")),
            "{path}"
        );
    }
}

#[test]
fn a_file_push_that_can_only_fail_is_not_sent() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let uuid = "374004a2-bc6c-4abc-bde5-9f1a9671d307";
    let with = |fields: &str| format!(r#"{{{fields}"audience":{LIST},"notification":{{"alert":"x"}}}}"#);
    let foreign = format!(r#""cid":"28a10c0904b5cd622aadaeb1-{uuid}","platform":"all","#);
    let own = format!(r#""cid":"7d431e42dfa6a6d693ac2d04-{uuid}","platform":"all","#);
    let send =
        |path: &str, fields: &str| gateway.call(&Request::post(path, &with(fields)).bearer(Tokens::ORDERS));
    for path in ["/v3/push/file", "/v3/grouppush/file"] {
        for fields in ["", r#""platform":null,"#] {
            send(path, fields).assert_refused(400, "invalid-body", 1002);
        }
    }
    send("/v3/push/file", &foreign).assert_refused(400, "invalid-body", 1003);
    let bare = format!(r#"{{"audience":{LIST}}}"#);
    let scheduled = schedule(SOME).replace(&push(SOME), &bare);
    gateway.call(&Request::post("/v3/schedules", &scheduled).bearer(Tokens::ORDERS)).assert_refused(
        400,
        "invalid-body",
        8100,
    );
    assert_eq!((vendor.requests().len(), gateway.used("app", "file")), (0, 0));
    for (path, fields) in
        [("/v3/push/file", r#""platform":"all","#), ("/v3/push/file", &own), ("/v3/grouppush/file", &foreign)]
    {
        assert_eq!(send(path, fields).status, 200, "{path} {fields}");
    }
}
