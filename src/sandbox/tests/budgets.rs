//! Credentials, budgets, the journal and faults.

use std::path::PathBuf;

use super::*;
use crate::config::{BaseUrls, CredentialConfig, Region, Repeats, TenantConfig};

#[test]
fn strangers_are_refused_as_each_api_does() {
    let bench = Bench::new();
    let wrong = basic(APP, "wrong");
    let group = basic(GROUP, SECRET);
    let dev = basic(DEV, SECRET);
    let nobody = basic("nobody", SECRET);
    let rows: &[(&str, &str, Option<&str>, u16, u64)] = &[
        ("POST", "/v3/push", None, 401, 1004),
        ("POST", "/v3/push", Some(&wrong), 401, 1004),
        ("POST", "/v3/push", Some(&group), 401, 1004),
        ("POST", "/v3/push", Some(&dev), 401, 1004),
        ("POST", "/v3/push", Some("Bearer x"), 401, 1004),
        ("POST", "/v3/push", Some("Basic !!!"), 401, 1004),
        ("POST", "/v3/grouppush", Some(&dev), 401, 1004),
        ("GET", "/v3/push/quota", Some(&nobody), 400, 1004),
        ("GET", "/v3/push/quota", Some(&wrong), 401, 1004),
        ("POST", "/v3/push/file", Some(&wrong), 401, 1004),
        ("GET", "/v3/files", None, 400, 1101),
        ("GET", "/v3/files", Some(&wrong), 400, 1101),
        ("GET", "/v3/files", Some(&group), 400, 1101),
        ("POST", "/v3/images/byurls", None, 400, 1002),
        ("POST", "/v3/images/byurls", Some(&wrong), 401, 1004),
        ("POST", "/v4/image/oppo", None, 401, 23001),
        ("GET", "/v3/schedules", None, 401, 8101),
        ("GET", "/v3/devices/1", None, 401, 7001),
        ("GET", "/v3/devices/1", Some(&wrong), 401, 7004),
        ("GET", "/v3/received", Some(&wrong), 401, 3001),
        ("GET", "/v3/group/users", Some(&dev), 401, 3001),
    ];
    for (method, path, authorization, status, code) in rows {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let seen = bench.send(method, path, &headers, b"{}");
        assert_eq!((seen.status, seen.code(), seen.rate()), (*status, Some(*code), None), "{method} {path}");
    }
    assert!(bench.journal().iter().all(|entry| entry["counted"] == false && entry["key"].is_null()));
    assert_eq!(bench.send("GET", "/_sandbox/counts", &[], b"").json(), json!({}));
    let seen = bench.send("GET", "/v3/files", &[("authorization", &dev)], b"");
    assert_eq!((seen.status, bench.journal().pop().expect("an entry")["key"].clone()), (200, json!(DEV)));
}

#[test]
fn a_budget_ends_and_comes_back() {
    let bench = Bench::with(settings(&[(BudgetName::Push, 2)]));
    let body = push(&json!({}));
    assert_eq!(bench.post("/v3/push", &body).rate(), Some([2, 1, 60]));
    bench.pass(Duration::from_millis(10_500));
    // A push that the vendor refuses also costs a call.
    let refused = bench.post("/v3/push", &json!({}));
    assert_eq!((refused.code(), refused.rate()), (Some(1002), Some([2, 0, 50])));
    for _ in 0..3 {
        let over = bench.get("/v3/push/quota");
        assert_eq!((over.status, over.code(), over.rate()), (429, Some(2002), Some([2, 0, 50])));
        assert_eq!(over.json()["error"]["message"], "Rate limit exceeded");
    }
    let counts = bench.send("GET", "/_sandbox/counts", &[], b"").json();
    assert_eq!(counts[APP]["push"], json!({ "max_in_any_window": 2, "total": 2, "refused": 3 }));
    assert_eq!(bench.get("/v3/schedules").status, 200);
    bench.pass(Duration::from_millis(49_500));
    assert_eq!(bench.post("/v3/push", &body).rate(), Some([2, 1, 60]));
    assert_eq!(bench.delivered(), json!({ APP: 2 }));
    assert_eq!(bench.send("DELETE", "/_sandbox", &[], b"").status, 200);
    assert_eq!(bench.post("/v3/push", &body).rate(), Some([2, 1, 60]));
    assert_eq!(bench.journal().len(), 1);
}

#[test]
fn windows_can_be_short_and_sliding() {
    let short = Settings {
        window: Some(Duration::from_millis(300)),
        windows: Windows::Sliding,
        ..settings(&[(BudgetName::Push, 2), (BudgetName::Broadcast, 3)])
    };
    let bench = Bench::with(short);
    let mut seen = Vec::new();
    for _ in 0..6 {
        let reply = bench.post("/v3/push", &push(&json!({})));
        seen.push(reply.code());
        bench.pass(Duration::from_millis(100));
    }
    // The calls at 0 and 100 fill the minute, those at 300 and 400 come after it; the day ends with the third
    // broadcast.
    assert_eq!(seen, [None, None, Some(2002), None, Some(2008), Some(2002)]);
    bench.pass(Duration::from_hours(1));
    let seen = bench.post("/v3/push", &push(&json!({})));
    assert_eq!((seen.status, seen.code(), seen.rate()), (429, Some(2008), Some([2, 1, 1])));
    let counts = bench.send("GET", "/_sandbox/counts", &[], b"").json();
    assert_eq!(counts[APP]["broadcast"], json!({ "max_in_any_window": 3, "total": 3, "refused": 2 }));
    assert_eq!(counts[APP]["push"], json!({ "max_in_any_window": 2, "total": 5, "refused": 2 }));
}

#[test]
fn a_schedule_for_a_file_draws_on_both_budgets_or_none() {
    let bench = Bench::with(settings(&[(BudgetName::File, 1), (BudgetName::Schedule, 5)]));
    let schedule = |audience: Value| {
        json!({
            "name": "n", "enabled": true, "trigger": { "single": { "time": "2030-01-01 00:00:00" } },
            "push": push(&json!({ "audience": audience })),
        })
    };
    let file =
        json!({ "file": { "file_id": "004f2b2c3d8fc649fa60ad2c-15563487-577d-4bb0-806b-56f1a19e06c1" } });
    assert_eq!(bench.post("/v3/schedules", &schedule(file.clone())).status, 200);
    assert_eq!(
        bench.post("/v3/schedules", &schedule(file)).rate().map(|rate| rate[..2].to_vec()),
        Some(vec![1, 0])
    );
    assert_eq!(bench.post("/v3/schedules", &schedule(json!("all"))).rate(), Some([5, 3, 60]));
}

#[test]
fn everybody_is_counted_wherever_a_call_names_everybody() {
    let bench = Bench::with(settings(&[(BudgetName::Broadcast, 100), (BudgetName::File, 100)]));
    let file =
        json!({ "file": { "file_id": "004f2b2c3d8fc649fa60ad2c-15563487-577d-4bb0-806b-56f1a19e06c1" } });
    let template = |audience: &Value| json!({ "id": "t", "params": [{}, { "audience": audience }] });
    let encrypted = |audience: Value| {
        let headers = [("authorization", &*basic(APP, SECRET)), ("x-encrypt-type", "SM2")];
        let body = json!({ "audience": audience, "payload": "b64" }).to_string();
        bench.send("POST", "/v3/push", &headers, body.as_bytes());
    };
    let counted = || {
        let counts = bench.send("GET", "/_sandbox/counts", &[], b"").json();
        ["broadcast", "file"].map(|name| counts[APP][name]["total"].as_u64().unwrap_or_default())
    };
    let batch = json!({ "pushlist": { "c": { "platform": "all", "target": "all" } } });
    for (path, body, expected) in [
        ("/v3/push", push(&json!({})), [1, 0]),
        ("/v3/push", push(&json!({ "audience": { "tag_not": ["t"] } })), [1, 0]),
        ("/v3/push/validate", push(&json!({})), [1, 0]),
        ("/v3/push/batch/alias/single", batch, [1, 0]),
        ("/v3/push/template", template(&json!("all")), [2, 0]),
        ("/v3/push/template/schedule", template(&json!("all")), [3, 0]),
        ("/v3/push/template", template(&file), [3, 1]),
        ("/v3/schedules", schedule(), [4, 1]),
    ] {
        bench.post(path, &body);
        assert_eq!(counted(), expected, "{path} {body}");
    }
    encrypted(json!({ "all": true, "file": false }));
    encrypted(json!({ "all": false, "file": false, "targets": [] }));
    assert_eq!(counted(), [5, 1]);
}

#[test]
fn oppo_pictures_have_a_day() {
    let bench = Bench::with(settings(&[(BudgetName::OppoBig, 2), (BudgetName::OppoIcon, 1)]));
    let by_urls = |kind: u8, field: &str| {
        bench.post("/v3/images/byurls", &json!({ "image_type": kind, field: "https://x/y.png" })).code()
    };
    assert_eq!(by_urls(1, "jiguang_image_url"), None);
    assert_eq!(by_urls(1, "image_url"), None);
    let both = json!({ "big_picture_url": "https://x/b.png", "small_picture_url": "https://x/s.png" });
    assert_eq!(bench.post("/v4/image/oppo", &both).code(), None);
    assert_eq!([by_urls(1, "oppo_image_url"), by_urls(2, "oppo_image_url")], [Some(1103), Some(1103)]);
    assert_eq!(
        bench
            .form("POST", "/v3/images/byfiles", &[("oppo_file", Some("a"), b"x"), ("image_type", None, b"2")])
            .code(),
        Some(1103)
    );
    let counts = bench.send("GET", "/_sandbox/counts", &[], b"").json();
    assert_eq!((&counts[APP]["oppo_icon"]["refused"], &counts[APP]["push"]["total"]), (&json!(2), &json!(6)));
}

#[test]
fn the_journal_tells_everything_but_secrets() {
    let bench = Bench::new();
    let headers =
        [("authorization", &*basic(APP, SECRET)), ("cookie", "session=hidden"), ("X-Request-Id", "r1")];
    bench.send("GET", "/v3//push/cid?count=2", &headers, b"");
    bench.send("GET", "/nowhere", &headers, b"abc");
    let journal = bench.journal();
    let [first, second] = &journal[..] else { panic!("two entries: {journal:?}") };
    assert_eq!(
        (&first["method"], &first["path"], &first["query"]),
        (&json!("GET"), &json!("/v3//push/cid"), &json!("count=2"))
    );
    assert_eq!(
        (&first["operation"], &first["key"], &first["counted"]),
        (&json!("push-cid"), &json!(APP), &json!(true))
    );
    assert_eq!(first["headers"], json!({ "cookie": "(not shown)", "x-request-id": "r1" }));
    assert!(first["time"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')));
    assert!(second["operation"].is_null() && second["counted"] == false);
    assert_eq!(second["body_sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let text = json!(journal).to_string();
    assert!(!text.contains(SECRET) && !text.contains("hidden") && !text.contains(&basic(APP, SECRET)));
}

#[test]
fn faults_come_as_ordered() {
    let bench = Bench::new();
    let send = || bench.post("/v3/push", &push(&json!({})));
    bench.fault(&json!({ "operation": "push", "times": 2, "kind": "status", "status": 503 }));
    bench.fault(&json!({ "operation": "push", "kind": "html" }));
    bench.fault(&json!({ "operation": "push-quota", "kind": "status", "status": 401 }));
    bench.fault(&json!({ "kind": "delay", "delay": "1s" }));
    bench.fault(&json!({ "kind": "reset" }));
    bench.fault(&json!({ "kind": "cut" }));
    for _ in 0..2 {
        let seen = send();
        assert_eq!((seen.status, seen.code(), seen.rate()), (503, Some(1030), None));
    }
    let page = send();
    assert_eq!(
        (page.status, &page.headers["content-type"]),
        (502, &http::HeaderValue::from_static("text/html"))
    );
    assert_eq!(bench.delivered(), json!({}), "these have no effect");
    assert_eq!(bench.get("/v3/push/quota").json(), json!({ "code": 1004, "message": "A fault was ordered" }));
    let seen = [send(), send(), send(), send()].map(|seen| (seen.status, seen.delay.as_secs(), seen.ending));
    let expected = [
        (200, 1, AnswerEnding::Whole),
        (200, 0, AnswerEnding::Reset),
        (200, 0, AnswerEnding::Cut),
        (200, 0, AnswerEnding::Whole),
    ];
    assert_eq!(seen, expected);
    assert_eq!(bench.delivered(), json!({ APP: 4 }), "these have their effect");
    assert!(bench.journal().iter().all(|entry| entry["counted"] == true));
    let bad = bench.send("POST", "/_sandbox/faults", &[], br#"{"kind":"reset","x":1}"#);
    assert!(bad.status == 400 && bad.json().to_string().contains("unknown field"), "{bad:?}");
    assert_eq!(bench.send("GET", "/_sandbox/other", &[], b"").status, 404);
}

#[test]
fn tenants_that_share_keys_share_accounts() {
    let secret = || Secret::new(SECRET.to_owned()).expect("not empty");
    let credential = |key: &str| CredentialConfig {
        key: VendorKey::new(key.to_owned()).expect("a good key"),
        secret: secret(),
    };
    let tenant = |name: &str, app: &str| TenantConfig {
        name: name.to_owned(),
        app: credential(app),
        dev: Some(credential(DEV)),
        group: Some(credential(GROUP)),
        budgets: limits(&[]),
        urls: BaseUrls::from_fn(|_| None),
        region: Region::Default,
        repeats: Repeats::default(),
    };
    let tenants = [tenant("a", APP), tenant("b", "other"), tenant("c", APP)];
    let settings = Settings::from_config(&tenants, None, Windows::Fixed);
    let seen: Vec<_> =
        settings.accounts.iter().map(|account| (account.key.as_str(), account.members.len())).collect();
    assert_eq!(seen, [(APP, 0), (DEV, 0), (GROUP, 2), ("other", 0)]);
}

/// The simulator must not use the code that it is there to check.
#[test]
fn the_sandbox_knows_nothing_of_the_gateway() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/sandbox");
    let allowed = ["config::", "operation::", "secret::Secret"];
    for file in std::fs::read_dir(folder).expect("the folder").flatten() {
        let Ok(text) = std::fs::read_to_string(file.path()) else { continue };
        for (_, rest) in text.match_indices("crate::").map(|(at, found)| text.split_at(at + found.len())) {
            assert!(
                allowed.iter().any(|name| rest.starts_with(name)),
                "{:?}: crate::{rest:.40}",
                file.path()
            );
        }
    }
}
