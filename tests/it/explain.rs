//! Tests that `explain` and the gateway agree: each call is explained and made.

use std::path::PathBuf;
use std::process::Command;

use jpush_gateway::operation::{OPERATIONS, Operation};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::Value;

use crate::support::{
    Config, Connection, Gateway, Keys, PROGRAM, PUSH, Request, Stub, Tokens, basic, stderr, stdout,
};

/// Callers with their tokens.
const CALLERS: [(&str, &str); 4] = [
    ("orders", Tokens::ORDERS),
    ("both", Tokens::BOTH),
    ("pusher", Tokens::PUSHER),
    ("filer", Tokens::FILER),
];

const BOUNDARY: &str = "multipart/form-data; boundary=b";

/// A gateway, and the same configuration as a file for `explain`.
struct World {
    gateway: Gateway,
    vendor: Stub,
    path: PathBuf,
}

/// A call that is explained and made.
#[derive(Clone, Debug)]
struct Call {
    method: String,
    target: String,
    /// Content type of the body, if it has one.
    kind: Option<&'static str>,
    body: Vec<u8>,
}

impl Call {
    fn bare(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), kind: None, body: Vec::new() }
    }

    /// A call of this operation that breaks no rule.
    fn of(operation: &Operation) -> Self {
        let segments = operation.path.split('/').map(|segment| match segment {
            "{msg_id}" => "123",
            "{type}" => "alias",
            "{media_id}" => "jgmedia-1-2c1b8a5e-0d0b-4f43-a9e6-1d2b7e8a9c10",
            segment if segment.starts_with('{') => "x1",
            segment => segment,
        });
        let target = segments.collect::<Vec<_>>().join("/");
        let file_push =
            r#"{"platform":"all","audience":{"file":{"file_id":"x-1"}},"notification":{"alert":"Hi"}}"#;
        let schedule = format!(
            r#"{{"name":"n","enabled":true,"trigger":{{"single":{{"time":"2030-01-01 10:00:00"}}}},"push":{PUSH}}}"#
        );
        let urls = r#"{"image_type":1,"image_url":"https://example.com/a.jpg"}"#;
        let json = Some("application/json");
        let (kind, body) = match operation.body.as_str() {
            "–" | "cid query" => (None, Vec::new()),
            "push" => (json, PUSH.into()),
            "file push" => (json, file_push.into()),
            "schedule" => (json, schedule.into()),
            "image urls" => (json, urls.into()),
            "v4 urls" => (json, r#"{"big_picture_url":"https://example.com/a.png"}"#.into()),
            "target list" => (Some(BOUNDARY), form(&[("filename", Some("a.txt"), b"anna\n")])),
            "image files" => {
                (Some(BOUNDARY), form(&[("image_type", None, b"1"), ("xiaomi_file", Some("a.png"), &png())]))
            }
            _ => (json, "{}".into()),
        };
        Self { method: operation.method.as_str().into(), target, kind, body }
    }
}

fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, data) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), data, b"\r\n"].concat());
    }
    [&body[..], b"--b--\r\n"].concat()
}

/// The first bytes of a PNG.
fn png() -> Vec<u8> {
    [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &[0, 0, 3, 216, 0, 0, 1, 113, 8, 2, 0, 0, 0, 0, 0, 0, 0]].concat()
}

impl World {
    fn start(orders: &str) -> Self {
        let vendor = Stub::good();
        let mut config = Config::new(&vendor.url());
        config.budgets = "file: { limit: 1000, window: 60s }, broadcast: { limit: 10, window: 24h }".into();
        config.orders = orders.into();
        let gateway = Gateway::start(&config);
        let path = gateway.folder.path().join("gateway.yaml");
        Self { gateway, vendor, path }
    }

    fn explain(&self, method: &str, target: &str, more: &[&str]) -> Value {
        let mut command = Command::new(PROGRAM);
        command.arg("explain").arg("--config").arg(&self.path).args(["--json", method, target]).args(more);
        let output = command.env("SHOP_APP_SECRET", Keys::SHOP_APP_SECRET).output().expect("it starts");
        let said = stdout(&output);
        let json: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{}", stderr(&output)));
        assert_eq!(output.status.code(), Some(i32::from(json["refused"] == true)), "{json}");
        json
    }

    /// Explains the call and makes it, and compares the two.
    #[track_caller]
    fn agree(&self, call: &Call, (caller, token): (&str, &str), user: Option<&str>) {
        let Call { method, target, kind, body } = call;
        let mut more = vec!["--as", caller];
        more.extend(user.into_iter().flat_map(|user| ["--tenant", user]));
        let said = self.explain(method, target, &more);
        let before = self.vendor.requests().len();
        let mut request = Request::new(method, target).basic(user.unwrap_or_default(), token);
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind).body(body.clone());
        }
        let mut connection: Connection = self.gateway.connect();
        let answer = connection.call(&request);
        let what = format!(
            "{method} {target} as {caller} for {user:?}\nsaid: {said}\ndone: {answer:?} {}",
            answer.text()
        );
        let received = self.vendor.requests();
        assert_eq!(received.len() - before, usize::from(said.get("operation").is_some()), "{what}");
        if said["refused"] == true {
            assert_eq!(said["status"], answer.status, "{what}");
            assert_eq!(said["reason"].as_str(), answer.reason(), "{what}");
            if !answer.body.is_empty() {
                let json = answer.json();
                let error = if json["error"].is_null() { &json } else { &json["error"] };
                assert_eq!((&said["code"], &said["message"]), (&error["code"], &error["message"]), "{what}");
            }
            return;
        }
        assert_eq!(answer.status, 200, "{what}");
        let Some(operation) = said["operation"].as_str() else {
            assert!(said["local"] == true && answer.reason().is_none(), "{what}");
            return;
        };
        let received = received.last().expect("a request");
        let url = said["vendor_url"].as_str().expect("a URL");
        let sent = url.strip_prefix(&self.vendor.url()).expect("of the vendor");
        assert_eq!(received.line, format!("{method} {sent} HTTP/1.1"), "{what}");
        let key = said["key"].as_str().expect("a key");
        assert_eq!(received.header("Authorization"), Some(&*basic(key, secret_of(key))), "{what}");
        assert_eq!(said["budgets"][0]["limit"], answer.number("X-Rate-Limit-Limit"), "{what}");
        let line = self.gateway.line(answer.header("X-Request-Id").expect("an id"));
        for member in ["tenant", "caller"] {
            assert_eq!(said[member], line[member], "{what}");
        }
        assert_eq!(line["operation"], operation, "{what}");
    }
}

fn secret_of(key: &str) -> &'static str {
    match key.strip_prefix("group-").unwrap_or(key) {
        Keys::SHOP_APP => Keys::SHOP_APP_SECRET,
        Keys::SHOP_DEV => Keys::SHOP_DEV_SECRET,
        Keys::SHOP_GROUP => Keys::SHOP_GROUP_SECRET,
        Keys::MARKET_APP => Keys::MARKET_APP_SECRET,
        other => panic!("no secret of {other}"),
    }
}

#[test]
fn explain_and_the_gateway_agree_on_every_operation() {
    let world = World::start("");
    let [orders, both, pusher, filer] = CALLERS;
    for operation in OPERATIONS {
        let call = Call::of(operation);
        world.agree(&call, orders, None);
        world.agree(&call, both, Some("market"));
        world.agree(&call, pusher, Some(Keys::SHOP_APP));
        world.agree(&call, filer, Some(Keys::SHOP_DEV));
    }
}

#[test]
fn explain_and_the_gateway_agree_on_users() {
    let world = World::start("");
    let group = format!("group-{}", Keys::SHOP_GROUP);
    let users = [
        None,
        Some("shop"),
        Some("market"),
        Some("group-shop"),
        Some(Keys::SHOP_DEV),
        Some(&group),
        Some("nobody"),
        Some(""),
    ];
    for caller in CALLERS {
        for user in users {
            world.agree(&Call::bare("GET", "/v3/files"), caller, user);
        }
    }
}

#[test]
fn explain_and_the_gateway_agree_on_what_is_no_call() {
    let world = World::start("");
    let targets = [
        "/",
        "//",
        "/?x=1",
        "/v3",
        "/v3/",
        "/v3/Push",
        "/v3/push/",
        "/v3//push",
        "/v3/push?x=1&y",
        "/v3/push/../push",
        "/v3/push/%2e%2e",
        "/v3/push%2fvalidate",
        "/v3/aliases/%00",
        "/v3/aliases/a\\b",
        "/v3/aliases/100%",
        "/v3/aliases/%zz",
        "/v3/aliases/a b",
        "/v3/aliases/é",
        "/v3/aliases/%E9",
        "/v3/tags/vip#2",
        "/v3/push/12a",
        "/v3/push/123",
        "*",
        "v3/push",
        "http://gateway/v3/tags",
        "http://other/v3/tags",
        "/v3/push/cid",
        "/v3/push/cid?count=0",
        "/v3/push/cid?count=1",
        "/v3/push/cid?count=1000",
        "/v3/push/cid?count=1001",
        "/v3/push/cid?count=",
        "/v3/push/cid?count=5&count=x",
        "/v3/push/cid?type=push",
        "/v3/push/cid?type=schedule&count=3",
        "/v3/push/cid?type=both",
        "/v3/push/cid?%63ount=0",
        "/v4/image/oppo",
        "/v3/files/alias",
        "/v3/images/byurls",
    ];
    for target in targets {
        for method in ["GET", "HEAD", "DELETE", "PATCH", "get"] {
            world.agree(&Call::bare(method, target), CALLERS[0], None);
        }
    }
    for method in ["POST", "OPTIONS", "CONNECT", "TRACE", "G=T", "G@T"] {
        for target in ["/", "*", "/v3/nothing"] {
            world.agree(&Call::bare(method, target), CALLERS[0], None);
        }
    }
    world.agree(&Call::bare("GET", "/v3/tags"), ("nobody", "noTokenOfAnybody20261127"), None);
    world.agree(&Call::bare("GET", "/v3/files"), ("nobody", "noTokenOfAnybody20261127"), None);
}

#[test]
fn explain_and_the_gateway_agree_on_any_target() {
    let world = World::start("");
    let piece = prop::sample::select(vec![
        "/",
        "/",
        "v3",
        "v3",
        "push",
        "cid",
        "files",
        "tags",
        "aliases",
        "validate",
        "schedules",
        "x",
        "1",
        ".",
        "..",
        "%2F",
        "%2e",
        "%41",
        "%",
        "?",
        "?count=",
        "&count=0",
        "#",
        ";",
        "\\",
        "é",
        "\u{a0}",
        "<",
        "\"",
        "{",
        " ",
    ]);
    let target = prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()));
    let method = prop::sample::select(vec!["GET", "HEAD", "DELETE"]);
    // Few cases, because each starts a process.
    let mut runner = TestRunner::new(Cases { cases: 150, failure_persistence: None, ..Cases::default() });
    let outcome = runner.run(&(method, target), |(method, target)| {
        world.agree(&Call::bare(method, &target), CALLERS[0], None);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The missing right is shown by `explain`, and not in the answer to the caller.
#[test]
fn a_403_is_told_to_operators_by_what_is_missing() {
    let world = World::start("");
    let rows = [
        ("GET", "/v3/tags", "pusher", None, "scope", "pusher lacks the scope device"),
        ("GET", "/v3/files", "filer", Some(Keys::SHOP_DEV), "scope", "filer lacks the scope group"),
        ("POST", "/v3/push", "pusher", Some("market"), "tenant", "no tenant that goes by \"market\""),
        ("POST", "/v3/push", "pusher", Some("shp"), "tenant", "did you mean shop?"),
        ("POST", "/v3/grouppush", "both", Some("market"), "credential", "no group credential"),
    ];
    for (method, target, caller, user, lacks, why) in rows {
        let mut more = vec!["--as", caller];
        more.extend(user.into_iter().flat_map(|user| ["--tenant", user]));
        let said = world.explain(method, target, &more);
        assert_eq!((&said["status"], &said["lacks"]), (&403.into(), &lacks.into()), "{said}");
        assert!(said["why"].as_str().is_some_and(|said| said.contains(why)), "{said}");
        let (_, token) = CALLERS.into_iter().find(|(name, _)| *name == caller).expect("a caller");
        let answer = world.gateway.call(&Request::new(method, target).basic(user.unwrap_or_default(), token));
        assert_eq!(answer.status, 403);
        let text = answer.text();
        assert!(!text.contains("lacks") && !text.contains(why) && !text.contains("credential"), "{text}");
    }
    let said = world.explain("POST", "/v3/push", &["--as", "order"]);
    assert!(said["why"].as_str().is_some_and(|why| why.contains("did you mean orders?")), "{said}");
}

#[test]
fn a_push_to_everybody_is_told_as_refused_where_it_would_be() {
    let everybody = PUSH.replace(r#"{"alias":["anna"]}"#, "\"all\"");
    for (orders, refused) in [("", false), ("broadcast: false", true)] {
        let world = World::start(orders);
        let said = world.explain("POST", "/v3/push", &["--as", "orders"]);
        let when = |list: &Value| {
            let list = list.as_array().expect("a list").clone();
            list.into_iter().filter(|entry| entry["when"] == "\"audience\":\"all\"").collect::<Vec<_>>()
        };
        let (draws, refusals) = (when(&said["budgets"]), when(&said["refused_if"]));
        assert_eq!((draws.len(), refusals.len()), (usize::from(!refused), usize::from(refused)), "{said}");
        let answer = world.gateway.call(&Request::post("/v3/push", &everybody).bearer(Tokens::ORDERS));
        if refused {
            assert_eq!(refusals[0]["lacks"], "broadcast", "{said}");
            assert_eq!((&refusals[0]["status"], &refusals[0]["code"]), (&answer.status.into(), &2007.into()));
        }
        assert_eq!(answer.status, if refused { 403 } else { 200 });
    }
}
