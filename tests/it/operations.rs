//! Tests of every operation through the gateway; the simulator answers as the vendor documents.

use serde_json::{Value, json};

use crate::support::{Answer, Config, Gateway, Keys, PUSH, Request, Simulator, Tokens};

/// The documented operations.
const OPERATIONS: [&str; 52] = [
    "push",
    "push-validate",
    "push-cid",
    "push-quota",
    "push-withdraw",
    "push-template",
    "push-template-schedule",
    "push-plan-create",
    "push-plan-update",
    "push-plan-list",
    "push-batch-regid",
    "push-batch-alias",
    "push-file",
    "group-push",
    "group-push-file",
    "schedule-create",
    "schedule-list",
    "schedule-get",
    "schedule-update",
    "schedule-delete",
    "schedule-msg-ids",
    "file-upload",
    "file-list",
    "file-get",
    "file-delete",
    "image-create-urls",
    "image-update-urls",
    "image-create-files",
    "image-update-files",
    "image-v4-oppo",
    "device-get",
    "device-update",
    "device-status",
    "alias-get",
    "alias-update",
    "alias-delete",
    "tag-list",
    "tag-update",
    "tag-delete",
    "tag-check",
    "test-model-add",
    "test-model-update",
    "test-model-list",
    "test-model-delete",
    "report-received",
    "report-received-detail",
    "report-messages",
    "report-messages-detail",
    "report-users",
    "report-message-status",
    "report-group-messages",
    "report-group-users",
];

/// A caller that uses the tenant shop.
struct App<'g>(&'g Gateway);

impl App<'_> {
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Value {
        let request = Request::new(method, path).header("Content-Type", kind).body(body);
        let answer = self.0.call(&request.basic(Keys::SHOP_APP, Tokens::ORDERS));
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        assert_rate_headers(&answer);
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    fn get(&self, path: &str, members: &[&str]) -> Value {
        has(self.send("GET", path, "text/plain", b"null"), members)
    }

    fn delete(&self, path: &str) {
        self.send("DELETE", path, "text/plain", b"");
    }

    fn post(&self, path: &str, body: &Value, members: &[&str]) -> Value {
        has(self.send("POST", path, "application/json", body.to_string().as_bytes()), members)
    }

    fn put(&self, path: &str, body: &Value, members: &[&str]) -> Value {
        has(self.send("PUT", path, "application/json", body.to_string().as_bytes()), members)
    }

    fn form(
        &self,
        method: &str,
        path: &str,
        parts: &[(&str, Option<&str>, &[u8])],
        members: &[&str],
    ) -> Value {
        let kind = "multipart/form-data; boundary=------------------------6fd6ff237027ae34";
        has(self.send(method, path, kind, &form(parts)), members)
    }
}

fn has(json: Value, members: &[&str]) -> Value {
    for member in members {
        assert!(json.get(member).is_some(), "no {member} in {json}");
    }
    json
}

fn assert_rate_headers(answer: &Answer) {
    for name in ["X-Rate-Limit-Limit", "X-Rate-Limit-Quota", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"] {
        answer.number(name);
    }
    assert!(answer.header("Ratelimit").is_some() && answer.header("Ratelimit-Policy").is_some());
}

fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file_name, data) in parts {
        let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
        let head = format!(
            "--------------------------6fd6ff237027ae34\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--------------------------6fd6ff237027ae34--\r\n");
    body
}

/// The first bytes of a PNG of this size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&width.to_be_bytes());
    png.extend_from_slice(&height.to_be_bytes());
    png.extend_from_slice(&[8, 2, 0, 0, 0, 0, 0, 0, 0]);
    png
}

fn push_to(audience: &Value) -> Value {
    json!({ "platform": "all", "audience": audience, "notification": { "alert": "Hi" } })
}

fn pushes(app: &App<'_>) {
    let push: Value = serde_json::from_str(PUSH).expect("JSON");
    let sent = app.post("/v3/push", &push, &["sendno", "msg_id"]);
    app.post("/v3/push/validate", &push, &["sendno", "msg_id"]);
    let cids = app.get("/v3/push/cid?count=2&type=push", &["cidlist"]);
    app.get("/v3/push/quota", &["data"]);
    app.delete(&format!("/v3/push/{}", sent["msg_id"].as_str().expect("a message id")));
    let cid = cids["cidlist"][1].as_str().expect("a cid");
    let batch = json!({ "pushlist": { cid: { "platform": "all", "target": "r1", "notification": { "alert": "x" } } } });
    app.post("/v3/push/batch/regid/single", &batch, &[]);
    app.post("/v3/push/batch/alias/single", &batch, &[]);
    app.post("/v3/grouppush", &push, &["group_msgid", Keys::SHOP_APP]);
    let template = json!({ "id": "t", "params": [{ "trace_id": "1" }] });
    app.post("/v3/push/template", &template, &["code", "message", "data"]);
    app.post("/v3/push/template/schedule", &template, &["code", "message", "data"]);
    app.post("/v3/push_plan/create", &json!({ "name": "p" }), &["code"]);
    app.put("/v3/push_plan/update", &json!({ "name": "p" }), &["code"]);
    app.get("/v3/push_plan/list?page=1", &["code", "data"]);
}

fn files(app: &App<'_>) {
    let parts: &[(&str, Option<&str>, &[u8])] =
        &[("ttl", None, b"24"), ("filename", Some("a.txt"), b"one\ntwo\n")];
    let file = app.form("POST", "/v3/files/alias", parts, &["file_id"]);
    let file_id = file["file_id"].as_str().expect("a file id");
    let to_file = push_to(&json!({ "file": { "file_id": file_id } }));
    app.post("/v3/push/file", &to_file, &["sendno", "msg_id"]);
    app.post("/v3/grouppush/file", &to_file, &["group_msgid"]);
    app.get("/v3/files", &["total_count", "files"]);
    app.get(&format!("/v3/files/{file_id}"), &["file_id", "type", "create_time", "file_name"]);
    app.delete(&format!("/v3/files/{file_id}"));
}

fn schedules(app: &App<'_>) {
    let schedule = json!({
        "name": "n", "enabled": true, "trigger": { "single": { "time": "2030-01-01 00:00:00" } },
        "push": push_to(&json!({ "alias": ["a"] })),
    });
    let made = app.post("/v3/schedules", &schedule, &["schedule_id", "name"]);
    let path = format!("/v3/schedules/{}", made["schedule_id"].as_str().expect("an id"));
    app.get("/v3/schedules/?page=1", &["total_count", "schedules"]);
    app.get(&path, &["schedule_id", "trigger", "push"]);
    app.put(&path, &json!({ "name": "m" }), &["schedule_id", "name"]);
    app.get(&format!("{path}/msg_ids"), &["count", "msgids"]);
    app.delete(&path);
}

fn pictures(app: &App<'_>) {
    let urls = json!({ "image_type": 2, "image_url": "https://x.example/y.jpg" });
    let media = "14b23451-0001-41ce-89d9-987b465122da";
    app.post("/v3/images/byurls", &urls, &["media_id"]);
    app.put(&format!("/v3/images/byurls/jgmedia-2-{media}"), &urls, &["media_id"]);
    let big = png(984, 369);
    let parts: &[(&str, Option<&str>, &[u8])] =
        &[("oppo_file", Some("a.png"), &big), ("image_type", None, b"1")];
    app.form("POST", "/v3/images/byfiles", parts, &["media_id", "oppo_image_url"]);
    let icon = png(144, 144);
    let path = format!("/v3/images/byfiles/jgmedia-2-{media}");
    app.form("PUT", &path, &[("oppo_file", Some("a.png"), &icon)], &["media_id", "oppo_image_url"]);
    app.post("/v4/image/oppo", &json!({ "big_picture_url": "https://x.example/y.jpg" }), &["big_picture_id"]);
}

fn devices(app: &App<'_>) {
    app.post("/v3/devices/r1", &json!({ "tags": { "add": ["t"] }, "alias": "a" }), &[]);
    app.get("/v3/devices/r1", &["tags", "alias", "mobile"]);
    app.post("/v3/devices/status/", &json!({ "registration_ids": ["r1"] }), &["r1"]);
    app.get("/v3/aliases/a?platform=all", &["registration_ids"]);
    app.post("/v3/aliases/a", &json!({ "registration_ids": { "remove": ["r1"] } }), &[]);
    app.delete("/v3/aliases/a");
    app.post("/v3/tags/t", &json!({ "registration_ids": { "add": ["r2"] } }), &[]);
    app.get("/v3/tags/", &["tags"]);
    app.get("/v3/tags/t/registration_ids/r2", &["result"]);
    app.delete("/v3/tags/t");
    let device = json!({ "registration_id": "r" });
    app.post("/v3/test/model/add", &device, &[]);
    app.put("/v3/test/model/update", &device, &[]);
    app.get("/v3/test/model/list", &["total", "detail"]);
    app.delete("/v3/test/model/delete/r");
}

fn reports(app: &App<'_>) {
    app.get("/v3/received?msg_ids=1%2C2", &[]);
    app.get("/v3/received/detail?msg_ids=1,2", &[]);
    app.get("/v3/messages?msg_ids=1", &[]);
    app.get("/v3/messages/detail?msg_ids=1", &[]);
    app.get("/v3/users?time_unit=DAY&start=2026-01-01&duration=1", &["items"]);
    app.post("/v3/status/message", &json!({ "msg_id": 1, "registration_ids": ["r"] }), &["r"]);
    app.get("/v3/group/messages/detail?group_msgids=1", &[]);
    app.get("/v3/group/users", &["items"]);
}

#[test]
fn every_operation_goes_through() {
    let vendor = Simulator::start();
    let mut config = Config::new(&vendor.url());
    config.workers = 2;
    let gateway = Gateway::start(&config);
    let app = App(&gateway);
    for api in [pushes, files, schedules, pictures, devices, reports] {
        api(&app);
    }
    let journal = vendor.journal();
    let mut seen: Vec<_> = journal.iter().filter_map(|entry| entry["operation"].as_str()).collect();
    assert_eq!(seen.len(), OPERATIONS.len(), "one call each");
    assert!(journal.iter().all(|entry| entry["counted"] == true && entry["key"].is_string()));
    let group = format!("group-{}", Keys::SHOP_GROUP);
    for entry in &journal {
        let grouped = entry["operation"].as_str().is_some_and(|name| name.contains("group"));
        assert_eq!(entry["key"], if grouped { &*group } else { Keys::SHOP_APP }, "{entry}");
    }
    seen.sort_unstable();
    let mut expected = OPERATIONS.to_vec();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    // Each call was counted on the budget in its row of the table.
    let used = |credential, budget| gateway.used(credential, budget);
    assert_eq!((used("app", "push"), used("app", "file"), used("app", "schedule")), (17, 5, 6));
    assert_eq!((used("app", "device"), used("app", "report")), (14, 6));
    assert_eq!((used("group", "push"), used("group", "file"), used("group", "report")), (1, 1, 2));
}
