//! Tests of each API's state and rules.

use super::*;

const UUID: &str = "14b23451-0001-41ce-89d9-987b465122da";
const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_cid_works_once_for_a_day() {
    let bench = Bench::new();
    let cids = |query: &str| bench.get(&format!("/v3/push/cid{query}")).json();
    assert_eq!(cids("?count=1000")["cidlist"].as_array().map(Vec::len), Some(10), "a free account gets ten");
    for bad in ["?count=0", "?count=1001", "?count=x", "?type=mail"] {
        assert_eq!(cids(bad)["error"]["code"], 1003, "{bad}");
    }
    let cid = cids("")["cidlist"][0].clone();
    let body = push(&json!({ "cid": cid }));
    assert_eq!(bench.post("/v3/push/validate", &body).status, 200, "validating uses nothing up");
    let first = bench.post("/v3/push", &body);
    bench.pass(23 * HOUR);
    let repeat = bench.post("/v3/push", &body);
    assert_eq!((repeat.status, &repeat.body), (200, &first.body));
    assert_eq!(bench.delivered(), json!({ APP: 1 }));
    bench.pass(HOUR);
    assert_eq!(bench.post("/v3/push", &body).code(), Some(1003), "forgotten after a day");
    let schedule_cid = cids("?type=schedule")["cidlist"][0].clone();
    assert_eq!(bench.post("/v3/push", &push(&json!({ "cid": schedule_cid }))).code(), Some(1003));
    let mut scheduled = schedule();
    scheduled["cid"] = schedule_cid;
    let [one, two] = [0; 2].map(|_| bench.post("/v3/schedules", &scheduled).body);
    assert_eq!(one, two);
    assert_eq!(bench.get("/v3/schedules").json()["total_count"], 1);
    let group = push(&json!({ "cid": "any" }));
    let [one, two] = [0; 2].map(|_| bench.post("/v3/grouppush", &group).body);
    assert_eq!(one, two);
    let batch = json!({ "pushlist": {
        cids("")["cidlist"][0].as_str().expect("text"): { "platform": "all", "target": "r" },
        "unknown": { "platform": "all", "target": "r" },
    } });
    let [one, two] = [0; 2].map(|_| bench.post("/v3/push/batch/regid/single", &batch));
    assert_eq!((one.status, &one.body), (200, &two.body));
    assert_eq!(one.json()["unknown"]["error"]["code"], 1003);
    assert_eq!(one.json().to_string().matches("msg_id").count(), 1);
}

#[test]
fn only_what_was_sent_can_be_withdrawn() {
    let bench = Bench::new();
    let unknown = bench.delete("/v3/push/181002870085000001");
    assert_eq!((unknown.status, unknown.code()), (400, Some(1003)));
    assert_eq!(unknown.json()["error"]["message"], "msgid doesn't exist");
    let group = bench.post("/v3/grouppush", &push(&json!({}))).json();
    let msg_id = group[APP]["msg_id"].as_str().expect("text");
    assert_eq!(bench.delete(&format!("/v3/push/{msg_id}")).status, 200);
}

#[test]
fn target_lists_are_judged_as_documented() {
    let bench = Bench::new();
    let name = Some("a.txt");
    let large = vec![b'\n'; 10 * 1024 * 1024 + 1];
    let rows: &[(&str, Parts<'_>, u64)] = &[
        ("phone", &[("filename", name, b"a")], 1103),
        ("alias", &[("ttl", None, b"1")], 1102),
        ("alias", &[("filename", name, b"")], 1103),
        ("alias", &[("filename", name, b" \n\t\r\n")], 1103),
        ("alias", &[("filename", name, &large)], 1103),
        ("alias", &[("filename", Some("a.csv"), b"a")], 1103),
        ("alias", &[("filename", name, b"\xff\xfe")], 1103),
        ("alias", &[("filename", name, &[b'a'; 41])], 1103),
        ("alias", &[("filename", name, b"a"), ("ttl", None, b"0")], 1103),
        ("alias", &[("filename", name, b"a"), ("ttl", None, b"721")], 1103),
    ];
    for (kind, parts, code) in rows {
        assert_eq!(
            bench.form("POST", &format!("/v3/files/{kind}"), parts).code(),
            Some(*code),
            "{kind} {code}"
        );
    }
    assert_eq!(bench.post("/v3/files/alias", &json!({})).code(), Some(1103));
    let mut list = b"\xef\xbb\xbf  ".to_vec();
    list.extend_from_slice(&[b'a'; 40]);
    list.extend_from_slice(b"  \r\nb\n");
    let ids = [0; 20].map(|_| {
        let seen = bench.form(
            "POST",
            "/v3/files/registration_id",
            &[("filename", name, &list), ("ttl", None, b"2")],
        );
        seen.json()["file_id"].as_str().expect("an id").to_owned()
    });
    let upload = || bench.form("POST", "/v3/files/alias", &[("filename", name, b"a")]).code();
    assert_eq!(upload(), Some(1112));
    assert_eq!(bench.delete(&format!("/v3/files/{}", ids[0])).status, 200);
    assert_eq!([upload(), upload()], [None, Some(1112)]);
    bench.pass(2 * HOUR);
    assert_eq!(bench.get("/v3/files").json()["total_count"], 1);
    let to = |id: &str| push(&json!({ "audience": { "file": { "file_id": id } } }));
    assert_eq!(bench.post("/v3/push/file", &to(&ids[1])).code(), Some(1104), "expired");
    assert_eq!(bench.get(&format!("/v3/files/{}", ids[1])).code(), Some(1104));
    assert_eq!(bench.delete("/v3/files/unknown").status, 200);
    assert_eq!(bench.post("/v3/push/file", &to("nonsense")).code(), Some(1003));
    assert_eq!(bench.post("/v3/push/file", &to(&format!("004f2b2c3d8fc649fa60ad2c-{UUID}"))).status, 200);
    assert_eq!(bench.post("/v3/grouppush/file", &to(&format!("{DEV}-{UUID}"))).code(), Some(1104));
    assert_eq!(bench.post("/v3/push/file", &push(&json!({}))).code(), Some(1003));
    assert_eq!(bench.post("/v3/push/file", &push(&json!({ "audience": {} }))).code(), Some(1002));
}

#[test]
fn schedules_are_judged_as_documented() {
    let bench = Bench::new();
    for (name, value) in [
        ("name", json!(null)),
        ("name", json!("x".repeat(256))),
        ("trigger", json!({})),
        ("trigger", json!({ "single": { "time": "2030-01-01" } })),
        ("trigger", json!({ "single": { "time": "2030-01-01 00:00:00" }, "periodical": {} })),
        (
            "trigger",
            json!({ "periodical": { "start": "2030-01-01 00:00:00", "end": "2030-02-01 00:00:00" } }),
        ),
        ("push", json!({ "platform": "all" })),
        ("push", json!(1)),
    ] {
        let mut body = schedule();
        body[name] = value;
        let seen = bench.post("/v3/schedules", &body);
        assert_eq!((seen.status, seen.code()), (400, Some(8100)), "{body}");
    }
    for seen in [
        bench.get("/v3/schedules/x"),
        bench.delete("/v3/schedules/x"),
        bench.put("/v3/schedules/x", &json!({})),
    ] {
        assert_eq!((seen.status, seen.code()), (404, Some(8104)));
    }
    let id =
        bench.post("/v3/schedules", &schedule()).json()["schedule_id"].as_str().expect("text").to_owned();
    let periodical =
        json!({ "start": "2030-01-01 00:00:00", "end": "2030-02-01 00:00:00", "time": "12:00:00" });
    let update = json!({ "trigger": { "periodical": periodical } });
    assert_eq!(bench.put(&format!("/v3/schedules/{id}"), &update).code(), Some(8100), "kinds stay");
    for _ in 1..100 {
        assert_eq!(bench.post("/v3/schedules", &schedule()).status, 200);
    }
    assert_eq!(bench.post("/v3/schedules", &schedule()).code(), Some(8100), "at most 100");
    let page = bench.get("/v3/schedules?page=2").json();
    assert_eq!((&page["total_pages"], page["schedules"].as_array().map(Vec::len)), (&json!(2), Some(50)));
}

#[test]
fn pictures_are_judged_as_documented() {
    let bench = Bench::new();
    let url = "https://x/y.png";
    for (body, code) in [
        (json!({ "image_url": url }), 1102),
        (json!({ "image_type": 4, "image_url": url }), 1103),
        (json!({ "image_type": 1, "image_url": "", "oppo_image_url": null }), 1102),
        (json!({ "image_type": 1, "huawei_image_url": url }), 1103),
        (json!({ "image_type": 2, "huawei_image_url": "http://x/y.png" }), 1103),
        (json!({ "image_type": 1, "image_url": "x".repeat(2049) }), 1103),
    ] {
        assert_eq!(bench.post("/v3/images/byurls", &body).code(), Some(code), "{body}");
    }
    let kept = bench.post(
        "/v3/images/byurls",
        &json!({ "image_type": 3, "huawei_image_url": "/raw/a", "image_url": url }),
    );
    assert_eq!(kept.json()["oppo_image_url"], json!(null));
    let id = kept.json()["media_id"].as_str().expect("text").to_owned();
    let path = format!("/v3/images/byurls/{id}");
    let updated = bench.put(&path, &json!({ "jiguang_image_url": "new", "oppo_image_url": url })).json();
    assert_eq!(
        (&updated["huawei_image_url"], &updated["jiguang_image_url"]),
        (&json!("/raw/a"), &json!("new"))
    );
    assert_eq!(bench.put("/v3/images/byurls/x", &json!({ "fcm_image_url": url })).code(), Some(1103));
    assert_eq!(bench.put(&path, &json!({})).code(), Some(1102));
    // A new picture only for channels without such pictures fails; an update leaves what was there.
    for (kind, field) in [(1, "huawei"), (1, "honor"), (3, "oppo"), (3, "fcm")] {
        let body = json!({ "image_type": kind, format!("{field}_image_url"): url });
        assert_eq!(bench.post("/v3/images/byurls", &body).code(), Some(1103), "{body}");
    }
    let idle = bench.put(&path, &json!({ "oppo_image_url": url }));
    assert_eq!((idle.status, &idle.json()["huawei_image_url"]), (200, &json!("/raw/a")));
    let large = vec![0; 2 * 1024 * 1024 + 1];
    let (big, kind) = (png(984, 369), ("image_type", None, b"1" as &[u8]));
    let rows: &[(Parts<'_>, u64)] = &[
        (&[("oppo_file", None, &big)], 1102),
        (&[kind], 1102),
        (&[("oppo_file", None, &big), ("image_type", None, b"9")], 1103),
        (&[("oppo_file", None, &big), ("image_type", None, b"2")], 1103),
        (&[("oppo_file", None, &big), ("image_type", None, b"3")], 1103),
        (&[("oppo_file", None, b""), kind], 1102),
        (&[("oppo_file", None, b"GIF89a"), kind], 1103),
        (&[("oppo_file", None, b"\x89PNG\r\n\x1a\n"), kind], 1103),
        (&[("xiaomi_file", None, &large), kind], 1103),
    ];
    for (position, (parts, code)) in rows.iter().enumerate() {
        assert_eq!(bench.form("POST", "/v3/images/byfiles", parts).code(), Some(*code), "row {position}");
    }
    for (body, code) in [(json!({}), 23002), (json!({ "big_picture_url": "x" }), 21003), (json!(1), 21003)] {
        assert_eq!(bench.post("/v4/image/oppo", &body).code(), Some(code), "{body}");
    }
}

#[test]
fn of_an_encrypted_push_only_the_payload_is_asked_for() {
    let bench = Bench::new();
    let authorization = basic(APP, SECRET);
    let headers = [("authorization", &*authorization), ("x-encrypt-type", "SM2")];
    for (body, status) in [
        (json!({ "audience": "all", "payload": "b64" }), 200),
        // These are written as the Java SDK writes them.
        (json!({ "audience": { "all": true, "file": false }, "payload": "b64" }), 200),
        (json!({ "audience": { "all": false, "file": false, "tag": [] }, "payload": "b64" }), 200),
        (json!({ "payload": "b64" }), 200),
        (json!({ "audience": "all" }), 400),
        (json!([]), 400),
    ] {
        let seen = bench.send("POST", "/v3/push", &headers, body.to_string().as_bytes());
        assert_eq!(seen.status, status, "{body}");
    }
    // In other operations the header is ignored.
    let body = json!({ "audience": { "file": { "file_id": format!("{APP}-{UUID}") } }, "payload": "b64" });
    for path in ["/v3/push/validate", "/v3/push/file", "/v3/schedules"] {
        assert_eq!(bench.send("POST", path, &headers, body.to_string().as_bytes()).status, 400, "{path}");
    }
}

#[test]
fn pushes_of_templates_have_audiences() {
    let bench = Bench::new();
    let file = json!({ "file": { "file_id": format!("004f2b2c3d8fc649fa60ad2c-{UUID}") } });
    for (audience, code) in [
        (json!("all"), Some(0)),
        (json!({ "registration_id": ["a"] }), Some(0)),
        (json!(null), Some(0)),
        (file, Some(0)),
        (json!({ "tag": [] }), Some(1003)),
        (json!({ "file": {} }), Some(1002)),
    ] {
        let body = json!({ "id": "t", "params": [{ "audience": audience }] });
        for path in ["/v3/push/template", "/v3/push/template/schedule"] {
            assert_eq!(bench.post(path, &body).code(), code, "{path} {body}");
        }
    }
    assert_eq!(bench.post("/v3/push/template", &json!({ "id": "t", "params": [1] })).code(), Some(1003));
}

#[test]
fn bodies_are_read_as_java_reads_them() {
    let bench = Bench::new();
    let push = push(&json!({ "notification": { "alert": "cut here" } })).to_string();
    for body in
        [format!("\u{feff}{push}"), push.replace("cut here", r"\ud83d"), push.replace("cut here", r"\ude00")]
    {
        let seen = bench.call("POST", "/v3/push", "application/json", body.as_bytes());
        assert_eq!(seen.status, 200, "{body}: {seen:?}");
    }
}

#[test]
fn when_a_file_expires_is_told_if_the_upload_said_so() {
    let bench = Bench::new();
    let list: (_, _, &[u8]) = ("filename", Some("a.txt"), b"anna");
    let told = |parts: Parts<'_>| {
        let uploaded = bench.form("POST", "/v3/files/alias", parts).json();
        let id = uploaded["file_id"].as_str().expect("an id").to_owned();
        let shown = bench.get(&format!("/v3/files/{id}")).json();
        let listed = bench.get("/v3/files").json()["files"].as_array().expect("files").clone();
        assert!(listed.contains(&shown) && shown["create_time"].is_string(), "{listed:?}");
        shown.get("expire_time").is_some()
    };
    assert!(told(&[list, ("ttl", None, b"720")]));
    assert!(!told(&[list]));
}

#[test]
fn an_update_takes_the_common_address_for_channels_without_one() {
    let bench = Bench::with(settings(&[(BudgetName::OppoBig, 1)]));
    let path = format!("/v3/images/byurls/jgmedia-1-{UUID}");
    let update = || bench.put(&path, &json!({ "image_url": "https://x/y.png" }));
    let updated = update();
    assert_eq!((updated.status, &updated.json()["fcm_image_url"]), (200, &json!("https://x/y.png")));
    assert!(updated.json()["oppo_image_url"].is_string(), "{updated:?}");
    assert_eq!(update().code(), Some(1103), "OPPO's day is over");
}

#[test]
fn a_picture_that_was_not_chosen_is_absent() {
    let bench = Bench::with(settings(&[(BudgetName::OppoBig, 1)]));
    let (big, kind): (_, (_, _, &[u8])) = (png(984, 369), ("image_type", None, b"1"));
    let send = |oppo: &[u8], xiaomi: &[u8]| {
        let parts = [("oppo_file", Some(""), oppo), ("xiaomi_file", Some(""), xiaomi), kind];
        bench.form("POST", "/v3/images/byfiles", &parts).code()
    };
    assert_eq!([send(b"", &big), send(b"", &big), send(b"", b"")], [None, None, Some(1102)]);
    assert_eq!([send(&big, b""), send(&big, &big)], [None, Some(1103)], "OPPO's day is over");
}
