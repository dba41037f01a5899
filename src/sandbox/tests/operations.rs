//! Tests of every operation: its documented success, and its answer to nonsense.

use proptest::prelude::*;

use super::*;
use crate::operation::OperationId;

const UUID: &str = "14b23451-0001-41ce-89d9-987b465122da";

/// An operation, its answer, and the members that the answer must have.
type Success = (&'static str, Seen, &'static [&'static str]);

/// A text in an answer.
fn text(seen: &Seen, pointer: &str) -> String {
    let json = seen.json();
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {seen:?}"))
        .to_owned()
}

fn push_successes(bench: &Bench) -> Vec<Success> {
    let message = bench.post("/v3/push", &push(&json!({ "options": { "sendno": 7 } })));
    let msg_id = text(&message, "/msg_id");
    assert!(text(&message, "/sendno") == "7" && msg_id.len() == 18 && msg_id.parse::<u64>().is_ok());
    let cids = bench.get("/v3/push/cid?count=2&type=push");
    let batch = json!({ "pushlist": { text(&cids, "/cidlist/1"): { "platform": "all", "target": "rid" } } });
    let validated = bench.post("/v3/push/validate", &push(&json!({})));
    vec![
        ("push", message, &["sendno", "msg_id"]),
        ("push-validate", validated, &["sendno", "msg_id"]),
        ("push-cid", cids, &["cidlist"]),
        ("push-quota", bench.get("/v3/push/quota"), &["code", "message", "data"]),
        ("push-withdraw", bench.delete(&format!("/v3/push/{msg_id}")), &[]),
        ("push-batch-regid", bench.post("/v3/push/batch/regid/single", &batch), &[]),
        ("push-batch-alias", bench.post("/v3/push/batch/alias/single", &batch), &[]),
        ("group-push", bench.post("/v3/grouppush", &push(&json!({}))), &[APP, "group_msgid"]),
    ]
}

fn plan_successes(bench: &Bench) -> Vec<Success> {
    let template = json!({ "id": "t", "params": [{ "trace_id": "1" }] });
    let scheduled = bench.post("/v3/push/template/schedule", &template);
    let plan = json!({ "name": "p" });
    vec![
        ("push-template", bench.post("/v3/push/template", &template), &["code", "message", "data"]),
        ("push-template-schedule", scheduled, &["code", "message", "data"]),
        ("push-plan-create", bench.post("/v3/push_plan/create", &plan), &["code", "message"]),
        ("push-plan-update", bench.put("/v3/push_plan/update", &plan), &["code", "message"]),
        ("push-plan-list", bench.get("/v3/push_plan/list?page=1"), &["code", "message", "data"]),
    ]
}

fn file_successes(bench: &Bench) -> Vec<Success> {
    let parts: Parts<'_> = &[("ttl", None, b"1"), ("filename", Some("a.TXT"), b"one\ntwo")];
    let file = bench.form("POST", "/v3/files/alias", parts);
    let file_id = text(&file, "/file_id");
    let to_file = push(&json!({ "audience": { "file": { "file_id": file_id } } }));
    let path = format!("/v3/files/{file_id}");
    vec![
        ("file-upload", file, &["file_id"]),
        ("push-file", bench.post("/v3/push/file", &to_file), &["sendno", "msg_id"]),
        ("group-push-file", bench.post("/v3/grouppush/file", &to_file), &[APP, "group_msgid"]),
        ("file-list", bench.get("/v3/files"), &["total_count", "files"]),
        ("file-get", bench.get(&path), &["file_id", "type", "create_time", "expire_time", "file_name"]),
        ("file-delete", bench.delete(&path), &[]),
    ]
}

fn schedule_successes(bench: &Bench) -> Vec<Success> {
    let created = bench.post("/v3/schedules", &schedule());
    let path = format!("/v3/schedules/{}", text(&created, "/schedule_id"));
    let list = bench.get("/v3/schedules?page=1");
    vec![
        ("schedule-create", created, &["schedule_id", "name"]),
        ("schedule-list", list, &["total_count", "total_pages", "page", "schedules"]),
        ("schedule-get", bench.get(&path), &["schedule_id", "name", "enabled", "trigger", "push"]),
        ("schedule-update", bench.put(&path, &json!({ "name": "m" })), &["schedule_id", "name"]),
        ("schedule-msg-ids", bench.get(&format!("{path}/msg_ids")), &["count", "msgids"]),
        ("schedule-delete", bench.delete(&path), &[]),
    ]
}

fn device_successes(bench: &Bench) -> Vec<Success> {
    let device = json!({ "tags": { "add": ["t"] }, "alias": "a" });
    let status = json!({ "registration_ids": ["r1"] });
    let unbind = json!({ "registration_ids": { "remove": ["r1"] } });
    let bind = json!({ "registration_ids": { "add": ["r2"], "remove": [] } });
    let test_device = json!({ "registration_id": "r" });
    vec![
        ("device-update", bench.post("/v3/devices/r1", &device), &[]),
        ("device-get", bench.get("/v3/devices/r1"), &["tags", "alias", "mobile"]),
        ("device-status", bench.post("/v3/devices/status/", &status), &["r1"]),
        ("alias-get", bench.get("/v3/aliases/a?platform=all"), &["registration_ids"]),
        ("alias-update", bench.post("/v3/aliases/a", &unbind), &[]),
        ("alias-delete", bench.delete("/v3/aliases/a"), &[]),
        ("tag-update", bench.post("/v3/tags/t", &bind), &[]),
        ("tag-list", bench.get("/v3/tags/"), &["tags"]),
        ("tag-check", bench.get("/v3/tags/t/registration_ids/r2"), &["result"]),
        ("tag-delete", bench.delete("/v3/tags/t"), &[]),
        ("test-model-add", bench.post("/v3/test/model/add", &test_device), &[]),
        ("test-model-update", bench.put("/v3/test/model/update", &test_device), &[]),
        ("test-model-list", bench.get("/v3/test/model/list"), &["total", "detail"]),
        ("test-model-delete", bench.delete("/v3/test/model/delete/r"), &[]),
    ]
}

fn report_successes(bench: &Bench) -> Vec<Success> {
    let status = json!({ "msg_id": 1, "registration_ids": ["r"] });
    vec![
        ("report-received", bench.get("/v3/received?msg_ids=1%2C2"), &[]),
        ("report-received-detail", bench.get("/v3/received/detail?msg_ids=1,2"), &[]),
        ("report-messages", bench.get("/v3/messages?msg_ids=1"), &[]),
        ("report-messages-detail", bench.get("/v3/messages/detail?msg_ids=1"), &[]),
        ("report-users", bench.get("/v3/users?time_unit=DAY&start=2026-01-01&duration=1"), &["items"]),
        ("report-message-status", bench.post("/v3/status/message", &status), &["r"]),
        ("report-group-messages", bench.get("/v3/group/messages/detail?group_msgids=1"), &[]),
        ("report-group-users", bench.get("/v3/group/users"), &["items"]),
    ]
}

fn picture_successes(bench: &Bench) -> Vec<Success> {
    let urls = json!({ "image_type": 2, "image_url": "https://x/y.jpg", "huawei_image_url": "" });
    let (big, icon) = (png(984, 369), png(144, 144));
    vec![
        (
            "image-create-urls",
            bench.post("/v3/images/byurls", &urls),
            &["media_id", "oppo_image_url", "hmos_image_url"],
        ),
        (
            "image-update-urls",
            bench.put(&format!("/v3/images/byurls/jgmedia-2-{UUID}"), &urls),
            &["media_id", "huawei_image_url"],
        ),
        (
            "image-create-files",
            bench.form(
                "POST",
                "/v3/images/byfiles",
                &[("oppo_file", Some("a.png"), &big), ("image_type", None, b"1")],
            ),
            &["media_id", "oppo_image_url", "xiaomi_image_url"],
        ),
        (
            "image-update-files",
            bench.form(
                "PUT",
                &format!("/v3/images/byfiles/jgmedia-2-{UUID}"),
                &[("oppo_file", Some("a"), &icon)],
            ),
            &["media_id", "oppo_image_url"],
        ),
        (
            "image-v4-oppo",
            bench.post("/v4/image/oppo", &json!({ "big_picture_url": "http://x" })),
            &["big_picture_id"],
        ),
    ]
}

#[test]
fn every_operation_succeeds_as_documented() {
    let bench = Bench::new();
    let apis = [
        push_successes,
        plan_successes,
        file_successes,
        schedule_successes,
        device_successes,
        report_successes,
        picture_successes,
    ];
    let seen: Vec<Success> = apis.iter().flat_map(|api| api(&bench)).collect();
    for (name, seen, members) in &seen {
        assert_eq!(seen.status, 200, "{name}: {seen:?}");
        assert!(seen.rate().is_some(), "{name} is counted");
        assert!(seen.headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("application/json")));
        for member in *members {
            assert!(seen.json().get(member).is_some(), "{name} has no {member}: {seen:?}");
        }
    }
    let empty =
        ["push-withdraw", "schedule-delete", "file-delete", "device-update", "alias-update", "tag-delete"];
    for (name, seen, _) in seen.iter().filter(|(name, ..)| empty.contains(name)) {
        assert!(seen.body.is_empty(), "{name}: {seen:?}");
    }
    for id in OperationId::all() {
        assert!(seen.iter().any(|(name, ..)| *name == id.name), "{} is not tried", id.name);
    }
    assert_eq!(seen.len(), OperationId::all().count());
}

/// JSON that resembles the API's schema and does not fit it.
fn odd_json() -> impl Strategy<Value = Value> {
    let names = [
        "platform", "audience", "all", "file", "file_id", "cid", "push", "trigger", "single", "time", "tags",
    ];
    let more = [
        "options",
        "sendno",
        "pushlist",
        "target",
        "params",
        "image_type",
        "image_url",
        "registration_ids",
        "add",
    ];
    let name = prop::sample::select([&names[..], &more[..]].concat());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        name.clone().prop_map(Value::from),
        "\\PC{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every operation has an answer, whatever is sent.
    #[test]
    fn nothing_brings_it_down(
        value in "[A-Za-z0-9_.~-]{1,40}",
        query in "[A-Za-z0-9_=&%+,-]{0,20}",
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        odd in odd_json(),
    ) {
        let bench = Bench::new();
        for id in OperationId::all() {
            let start = id.path.find('{').map_or(id.path, |brace| &id.path[..brace]);
            let path = if start == id.path { start.to_owned() } else { format!("{start}{value}") };
            for body in [&bytes[..], odd.to_string().as_bytes()] {
                let seen = bench.call(id.method.as_str(), &format!("{path}?{query}"), "multipart/form-data; boundary=b", body);
                prop_assert!(matches!(seen.status, 200 | 400 | 404 | 405), "{path}: {seen:?}");
            }
        }
    }
}
