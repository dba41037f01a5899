//! Tests of the audit log: it has one line for every call that had an effect at the vendor, whatever its outcome.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Config, Folder, Gateway, Keys, PUSH, Request, Stub, Tokens, json_answer, run, start_failing, stderr,
    stdout, wait_for, wait_until,
};

const UUID: &str = "374004a2-bc6c-4abc-bde5-9f1a9671d307";

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// A vendor that answers every call with a message id.
fn vendor() -> Stub {
    Stub::answering(json_answer("200 OK", r#"{"sendno":"0","msg_id":"18100287008546343"}"#))
}

fn config(vendor: &Stub) -> Config {
    let mut config = Config::new(&vendor.url());
    config.more = "audit: { file: audit.log }".into();
    config
}

fn text(gateway: &Gateway, file: &str) -> String {
    fs::read_to_string(gateway.folder.path().join(file)).unwrap_or_default()
}

fn lines(gateway: &Gateway, file: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    text(gateway, file).lines().map(parse).collect()
}

/// The audit line of a request; waits until it is written.
fn line(gateway: &Gateway, request_id: &str) -> Value {
    let find = || lines(gateway, "audit.log").into_iter().find(|line| line["request_id"] == request_id);
    wait_for("the audit line", find)
}

#[test]
fn a_call_with_an_effect_is_one_line_and_nothing_else_is() {
    let vendor = vendor();
    let gateway = Gateway::start(&config(&vendor));
    let own = format!("{}-{UUID}", Keys::SHOP_APP);
    let with_cid = |cid: &str| PUSH.replacen('{', &format!(r#"{{"cid":"{cid}","#), 1);
    let id = |request: Request, id: &str| request.header("X-Request-Id", id);
    // Calls that change nothing have no line.
    let silent = [
        Request::post("/v3/push/validate", PUSH).bearer(Tokens::ORDERS),
        Request::post("/v3/devices/status", "{}").bearer(Tokens::ORDERS),
        Request::post("/v3/status/message", "{}").bearer(Tokens::ORDERS),
        Request::get("/v3/schedules").bearer(Tokens::ORDERS),
        Request::get("/v3/push/cid").bearer(Tokens::ORDERS),
    ];
    for request in silent {
        assert_eq!(gateway.call(&id(request, "asks")).status, 200);
    }
    let refused = [
        push().header("Authorization", "Basic eDp5"),
        Request::post("/v3/push", PUSH).bearer("wrong"),
        Request::post("/v3/schedules", "{}").basic("shop", Tokens::PUSHER),
        Request::post("/v3/push", "{}").bearer(Tokens::ORDERS),
    ];
    for request in refused {
        assert!(gateway.call(&id(request, "refused")).status >= 400);
    }
    let calls = [
        (Request::post("/v3/push", &with_cid(&own)).bearer(Tokens::ORDERS), "a"),
        (Request::new("DELETE", "/v3/push/4711").basic("shop", Tokens::BOTH), "b"),
        (Request::new("DELETE", "/v3/schedules/5f3f9a5e%20x/").bearer(Tokens::ORDERS), "c"),
        (Request::new("DELETE", "/v3/aliases/anna").bearer(Tokens::ORDERS), "d"),
        (Request::post("/v3/push", PUSH).basic("market", Tokens::BOTH), "e"),
    ];
    for (request, name) in calls {
        assert_eq!(gateway.call(&id(request, name)).status, 200);
    }
    wait_until("all lines are written", || lines(&gateway, "audit.log").len() >= 5);
    let base = json!({
        "request_id": "a", "caller": "orders", "token": "2026-11", "tenant": "shop", "operation": "push",
        "object": null, "msg_id": "18100287008546343", "cid": own, "outcome": "answered", "vendor_status": 200,
        "vendor_code": null,
    });
    let expected = [
        json!({}),
        json!({"request_id": "b", "caller": "both", "token": "1", "operation": "push-withdraw", "msg_id": "4711", "cid": null}),
        json!({"request_id": "c", "operation": "schedule-delete", "object": "5f3f9a5e%20x", "cid": null}),
        json!({"request_id": "d", "operation": "alias-delete", "cid": null}),
        json!({"request_id": "e", "caller": "both", "token": "1", "tenant": "market", "cid": null}),
    ];
    let found = lines(&gateway, "audit.log");
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (mut line, differences) in found.into_iter().zip(expected) {
        let mut expected = base.as_object().expect("an object").clone();
        expected.extend(differences.as_object().expect("an object").clone());
        let entries = line.as_object_mut().expect("an object");
        assert!(
            entries.remove("time").is_some_and(|time| time.as_str().is_some_and(|time| time.ends_with('Z')))
        );
        assert!(entries.remove("duration_ms").is_some_and(|duration| duration.is_u64()));
        assert_eq!(*entries, expected);
    }
    // Audit lines go to their own file, and values that may be people's names are not in them.
    assert!(!gateway.program.err().contains("alias-delete") && !gateway.program.out().contains("outcome"));
    assert!(!text(&gateway, "audit.log").contains("anna"));
    let mode = fs::metadata(gateway.folder.path().join("audit.log")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_callers_send_cannot_break_a_line() {
    let vendor = vendor();
    let gateway = Gateway::start(&config(&vendor));
    let forged = r#"x","caller":"somebody","y":"#;
    let hostile = [
        r#"","caller":"somebody"#,
        r"\",
        r#"\","caller":"somebody"#,
        "a\u{2028}b",
        "a\\n{\\\"caller\\\":\\\"somebody\\\"}\\n",
        "\\u001b[2J\\u0000\\u009b",
        &"long".repeat(5_000),
    ];
    for (number, cid) in hostile.into_iter().enumerate() {
        // Escaped as JSON, unless it is escaped already.
        let cid = if cid.contains("\\u") || cid.contains("\\n") {
            cid.to_owned()
        } else {
            cid.replace('\\', r"\\").replace('"', r#"\""#)
        };
        // The cid of a group push is not checked.
        let body = PUSH.replacen('{', &format!(r#"{{"cid":"{cid}","#), 1);
        let request = Request::post("/v3/grouppush", &body).bearer(Tokens::ORDERS);
        let id = format!("{forged}{number}");
        assert_eq!(gateway.call(&request.header("X-Request-Id", &id)).status, 200);
        let line = line(&gateway, &id);
        assert_eq!((&line["caller"], &line["operation"]), (&"orders".into(), &"group-push".into()));
        assert!(line["cid"].as_str().is_some_and(|cid| (1..=128).contains(&cid.chars().count())), "{line}");
        assert_eq!(line.as_object().map(serde_json::Map::len), Some(13), "{line}");
    }
    let quoted = Request::new("DELETE", r#"/v3/schedules/","caller":"x"#).bearer(Tokens::ORDERS);
    gateway.call(&quoted.header("X-Request-Id", "path"));
    assert_eq!(line(&gateway, "path")["caller"], "orders");
    let all = text(&gateway, "audit.log");
    assert_eq!(all.lines().count(), hostile.len() + 1);
    assert!(all.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
}

#[test]
fn calls_whose_outcome_is_unknown_are_written_as_such() {
    let vendor = Stub::start(|talk| {
        while let Some(request) = talk.read_request() {
            match request.header("X-Request-Id") {
                Some("reset") => return talk.reset(),
                Some("silent") => return talk.wait_for_end(),
                Some("refuses") => {
                    talk.write(json_answer("401 No", r#"{"error":{"code":1004,"message":"no"}}"#));
                }
                Some("gone") => {
                    std::thread::sleep(Duration::from_millis(300));
                    talk.write(json_answer("400 Bad", r#"{"error":{"code":1011,"message":"none"}}"#));
                }
                _ => talk.write(json_answer("200 OK", "{}")),
            }
        }
    });
    let mut config = config(&vendor);
    config.vendor = "response_timeout: 1s".into();
    config.drain = "{ delay: 0s, deadline: 1s }";
    // The same push follows one whose caller has disconnected.
    config.shop = "resend_guard: 0s".into();
    let mut gateway = Gateway::start(&config);
    let named = |id: &str| push().header("X-Request-Id", id);
    let mut gone = gateway.connect();
    gone.send(named("gone").bytes());
    vendor.wait_for_requests(1);
    drop(gone);
    let line_of = |id: &str| line(&gateway, id);
    let gone = line_of("gone");
    assert_eq!(
        (&gone["outcome"], &gone["vendor_status"], &gone["vendor_code"]),
        (&"answered".into(), &400.into(), &1011.into())
    );
    for (id, status, outcome, vendor_status) in [
        ("reset", 502, "interrupted", Value::Null),
        ("silent", 504, "timed-out", Value::Null),
        ("refuses", 502, "answered", 401.into()),
    ] {
        assert_eq!(gateway.call(&named(id)).status, status, "{id}");
        let line = line_of(id);
        assert_eq!((&line["outcome"], &line["vendor_status"]), (&outcome.into(), &vendor_status), "{line}");
    }
    // This call is cut off by the end of a drain. Its line is written before the process ends.
    let mut cut = gateway.connect();
    let waiting = named("silent").header("X-More", "1");
    let before = vendor.requests().len();
    cut.send(waiting.bytes());
    vendor.wait_for_requests(before + 1);
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
    let silent = lines(&gateway, "audit.log").into_iter().filter(|line| line["request_id"] == "silent");
    assert_eq!(silent.map(|line| line["outcome"].clone()).collect::<Vec<_>>(), ["timed-out", "timed-out"]);
}

#[test]
fn a_call_that_was_never_sent_has_no_line() {
    let vendor = Stub::good();
    let mut config = config(&vendor);
    config.vendor_url = "http://127.0.0.1:1".into();
    let mut gateway = Gateway::start(&config);
    gateway.call(&push()).assert_refused(502, "vendor-unreachable", 1030);
    gateway.program.signal("TERM");
    gateway.program.wait();
    assert_eq!(text(&gateway, "audit.log"), "");
}

#[test]
fn everything_is_written_when_the_process_ends() {
    let vendor = vendor();
    let mut gateway = Gateway::start(&config(&vendor));
    let mut connection = gateway.connect();
    for number in 0..50 {
        assert_eq!(connection.call(&push().header("X-Request-Id", &number.to_string())).status, 200);
    }
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
    let ids: Vec<_> = lines(&gateway, "audit.log").iter().map(|line| line["request_id"].clone()).collect();
    assert_eq!(ids, (0..50).map(|number| Value::from(number.to_string())).collect::<Vec<_>>());
    // The next process appends to the file.
    let folder = std::mem::replace(&mut gateway.folder, Folder::new());
    let next = Gateway::start_in(folder, &config(&vendor));
    assert_eq!(next.call(&push().header("X-Request-Id", "next")).status, 200);
    line(&next, "next");
    assert_eq!(lines(&next, "audit.log").len(), 51);
}

#[test]
fn the_file_can_be_rotated() {
    let vendor = vendor();
    let gateway = Gateway::start(&config(&vendor));
    let path = |name: &str| gateway.folder.path().join(name);
    assert_eq!(gateway.call(&push().header("X-Request-Id", "first")).status, 200);
    line(&gateway, "first");
    fs::rename(path("audit.log"), path("audit.log.1")).expect("moved away");
    gateway.program.signal("HUP");
    wait_until("there is a new file", || path("audit.log").exists());
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.call(&push().header("X-Request-Id", "second")).status, 200);
    line(&gateway, "second");
    let ids = |name| lines(&gateway, name).iter().map(|line| line["request_id"].clone()).collect::<Vec<_>>();
    assert_eq!((ids("audit.log.1"), ids("audit.log")), (vec!["first".into()], vec!["second".into()]));
    // If the file cannot be opened again, the reload changes nothing, and the log stays on the old file.
    fs::rename(path("audit.log"), path("audit.log.2")).expect("moved away");
    fs::create_dir(path("audit.log")).expect("a folder in its place");
    let answer = gateway.reload();
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("audit.file: the file"), "{}", answer.text());
    assert_eq!(gateway.call(&push().header("X-Request-Id", "third")).status, 200);
    wait_until("the line is there", || ids("audit.log.2") == ["second", "third"]);
}

/// With a full disk, calls go on and lines wait; none is lost or torn once there is room again.
#[test]
fn a_full_disk_keeps_lines_waiting() {
    let vendor = vendor();
    let mut config = config(&vendor);
    // The process's files may not exceed 4 blocks, and it gets no signal when they would.
    config.shell = "trap '' XFSZ; ulimit -f 4";
    let mut gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    let count = 60;
    for number in 0..count {
        assert_eq!(connection.call(&push().header("X-Request-Id", &number.to_string())).status, 200);
    }
    wait_until("the fault is logged", || gateway.program.err().contains("audit lines cannot be written"));
    let path = |name: &str| gateway.folder.path().join(name);
    // Each file holds a few lines. The last line of a file may be torn there, and is complete in the next file.
    let mut files = 0;
    let whole = |files: usize| {
        let names = (0..files).map(|number| format!("audit.log.{number}")).chain(["audit.log".to_owned()]);
        let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
        names
            .flat_map(|name| text(&gateway, &name).lines().filter_map(parse).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    wait_until("everything is written", || {
        if whole(files).len() < count {
            // Lines are counted first, because the lines written right after the reload may fill the new file.
            let before = whole(files).len();
            fs::rename(path("audit.log"), path(&format!("audit.log.{files}"))).expect("moved away");
            files += 1;
            assert_eq!(gateway.reload().status, 200);
            wait_until("something is written", || whole(files).len() > before || whole(files).len() == count);
        }
        whole(files).len() >= count
    });
    let ids: Vec<_> = whole(files).iter().map(|line| line["request_id"].clone()).collect();
    assert_eq!(ids, (0..count).map(|number| Value::from(number.to_string())).collect::<Vec<_>>());
    assert!(files > 1, "the files were too large to be full");
    assert!(gateway.metric("jpush_gateway_audit_lost_total") < 0.5);
    wait_until("it is told", || gateway.program.err().contains("audit lines are written again"));
    // Lines that still wait at the end are lost, and their number is logged.
    for number in 0..count {
        assert_eq!(connection.call(&push().header("X-Request-Id", &number.to_string())).status, 200);
    }
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
    wait_until("it is told", || gateway.program.err().contains("audit lines are lost"));
}

#[test]
fn standard_error_is_a_sink_too() {
    let vendor = vendor();
    let mut config = config(&vendor);
    config.more = "audit: stderr".into();
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.call(&push().header("X-Request-Id", "one")).status, 200);
    let find = || {
        let err = gateway.program.err();
        err.lines().find_map(|line| serde_json::from_str::<Value>(line).ok())
    };
    assert_eq!(wait_for("the audit line", find)["operation"], "push");
}

#[test]
fn a_file_that_cannot_be_opened_stops_the_start() {
    for place in ["nowhere/audit.log", ".", "/dev/null"] {
        let folder = Folder::new();
        let mut config = Config::new("http://127.0.0.1:1");
        config.more = format!("audit: {{ file: {place} }}");
        let (code, said) = start_failing(&folder, &config);
        assert_eq!(code, 1, "{said}");
        assert!(said.lines().any(|line| line.starts_with("audit.file: the file")), "{said}");
        let path = folder.write("check.yaml", config.yaml().replace("env: SHOP_APP_SECRET", "value: abc"));
        let checked = run(&["check", "--config", path.to_str().expect("UTF-8")]);
        assert!(stderr(&checked).starts_with("audit.file: the file"), "{}", stderr(&checked));
    }
    let folder = Folder::new();
    folder.write("shop-dev", "abc");
    let mut config = Config::new("http://127.0.0.1:1");
    config.more = "audit: { file: audit.log }".into();
    let path = folder.write("check.yaml", config.yaml().replace("env: SHOP_APP_SECRET", "value: abc"));
    let checked = run(&["check", "--config", path.to_str().expect("UTF-8")]);
    assert!(stdout(&checked).contains("audit /"), "{}", stderr(&checked));
    assert!(!folder.path().join("audit.log").exists(), "a check makes no file");
}
