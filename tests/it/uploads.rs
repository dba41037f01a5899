//! Tests of uploads in the running gateway: forms as clients write them, refusals, daily budgets, `report` and memory.

use std::fmt::Write;

use crate::support::{Answer, Config, Connection, Gateway, Request, Simulator, Stub, Tokens, wait_until};

const FORM: &str = "multipart/form-data; boundary=xyz";

/// A part without a `Content-Type`.
fn part(name: &str, file_name: Option<&str>, content: &[u8]) -> Vec<u8> {
    let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
    let head = format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), b"--xyz--\r\n".to_vec()].concat()
}

fn list(content: impl AsRef<[u8]>) -> Vec<u8> {
    part("filename", Some("list.txt"), content.as_ref())
}

fn upload(path: &str, body: Vec<u8>) -> Request {
    Request::new("POST", path).bearer(Tokens::ORDERS).header("Content-Type", FORM).body(body)
}

fn alias(body: Vec<u8>) -> Request {
    upload("/v3/files/alias", body)
}

/// A PNG header with these dimensions, filled up to a length.
fn png(width: u32, height: u32, length: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&width.to_be_bytes());
    png.extend_from_slice(&height.to_be_bytes());
    png.extend_from_slice(&[8, 2, 0, 0, 0, 0, 0, 0, 0]);
    png.resize(png.len().max(length), 0);
    png
}

fn picture(field: &str, kind: &str, file: &[u8]) -> Vec<u8> {
    form(&[part(field, Some("x.png"), file), part("image_type", None, kind.as_bytes())])
}

#[track_caller]
fn assert_invalid(answer: &Answer, code: u64, words: &[&str]) {
    answer.assert_refused(400, "invalid-body", code);
    let json = answer.json();
    let message = json["error"]["message"].as_str().expect("a message");
    assert!(words.iter().all(|word| message.contains(word)), "{words:?} are not in {message:?}");
}

#[test]
fn lists_that_break_a_rule_cost_nothing() {
    let vendor = Simulator::start();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let (long, ttl) = ("x".repeat(45), |hours: &str| part("ttl", None, hours.as_bytes()));
    let bad: [(Vec<u8>, u64, &[&str]); 11] = [
        (b"anna\n".to_vec(), 1103, &["multipart"]),
        (form(&[ttl("24")]), 1102, &["no part named filename"]),
        (form(&[list("")]), 1103, &["empty"]),
        (form(&[list(" \r\n\n")]), 1103, &["blank lines only"]),
        (form(&[list(b"anna\nb\xFF\n")]), 1103, &["line 2", "not UTF-8", "byte 6"]),
        (
            form(&[list(format!("anna\n{long}\nboris\n{long}\n"))]),
            1103,
            &["line 2", "45 bytes", "up to 40", "2 of 4"],
        ),
        (form(&[part("filename", Some("list.csv"), b"anna")]), 1103, &[".txt"]),
        (form(&[list("anna"), ttl("0")]), 1103, &["ttl", "1 to 720"]),
        (form(&[list("anna"), ttl("721")]), 1103, &["ttl"]),
        (form(&[list("anna"), ttl("soon")]), 1103, &["ttl"]),
        (form(&[list("anna\n".repeat(2 * 1024 * 1024 + 1))]), 1103, &["10485765 bytes", "up to 10485760"]),
    ];
    for (body, code, words) in bad {
        assert_invalid(&gateway.call(&alias(body)), code, words);
    }
    let other = upload("/v3/files/phone", form(&[list("anna")]));
    assert_invalid(&gateway.call(&other), 1103, &["alias", "registration_id"]);
    assert_eq!((gateway.used("app", "file"), vendor.journal().len()), (0, 0));
    let series = r#"jpush_gateway_body_refusals_total{outcome="refused",rule="ttl"}"#;
    assert!((gateway.metric(series) - 3.0).abs() < 0.5);
    // Every value is exactly at its limit.
    let exactly = form(&[list(format!("\u{feff}  {}  \r\n", "x".repeat(40))), ttl("720")]);
    assert_eq!(gateway.call(&alias(exactly)).status, 200);
    assert_eq!((gateway.used("app", "file"), vendor.journal().len()), (1, 1));
}

#[test]
fn forms_pass_as_clients_write_them() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let (list, ttl) = (list("anna\nboris\n"), part("ttl", None, b"24"));
    let forms = [
        form(&[list.clone(), ttl.clone()]),
        form(&[ttl.clone(), list.clone()]),
        // With a leading CRLF.
        [b"\r\n".to_vec(), form(&[ttl.clone(), list.clone()])].concat(),
        // Without the closing boundary, once with and once without a last line break.
        [ttl.clone(), list.clone()].concat(),
        [list.clone(), ttl.trim_ascii_end().to_vec()].concat(),
        form(&[part("filename", Some("名单.TXT"), b"\xE5\xBC\xA0\n")]),
    ];
    for body in forms {
        let answer = gateway.call(&alias(body.clone()));
        assert_eq!(answer.status, 200, "{}: {}", String::from_utf8_lossy(&body), answer.text());
        let sent = vendor.requests().pop().expect("it was sent");
        assert_eq!((&sent.body, sent.header("Content-Type")), (&body, Some(FORM)));
    }
}

#[test]
fn pictures_that_break_a_rule_cost_nothing() {
    let vendor = Simulator::start();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let create = |body| gateway.call(&upload("/v3/images/byfiles", body));
    let (big, icon) = (png(984, 369, 0), png(144, 144, 0));
    let bad: [(Vec<u8>, u64, &[&str]); 9] = [
        (form(&[part("image_type", None, b"1")]), 1102, &["oppo_file or xiaomi_file"]),
        (form(&[part("oppo_file", Some("x.png"), &big)]), 1102, &["image_type"]),
        (picture("oppo_file", "4", &big), 1103, &["1, 2 or 3"]),
        (picture("oppo_file", "1", b""), 1102, &["oppo_file or xiaomi_file", "empty"]),
        (picture("oppo_file", "1", b"GIF89a"), 1103, &["neither PNG nor JPEG"]),
        (picture("xiaomi_file", "1", &big[..20]), 1103, &["breaks off"]),
        (picture("oppo_file", "1", &icon), 1103, &["144x144 pixels", "984x369 and 876x324"]),
        (picture("oppo_file", "2", &png(144, 144, 51_201)), 1103, &["51201 bytes", "up to 51200"]),
        (picture("xiaomi_file", "1", &png(9, 9, 2_097_153)), 1103, &["2097153 bytes", "up to 2097152"]),
    ];
    for (body, code, words) in bad {
        assert_invalid(&create(body), code, words);
    }
    assert_eq!((gateway.used("app", "push"), vendor.journal().len()), (0, 0));
    assert_eq!(create(picture("oppo_file", "1", &big)).status, 200);
    assert_eq!(create(picture("oppo_file", "2", &png(144, 144, 51_200))).status, 200);
    assert_eq!((gateway.used("app", "push"), vendor.journal().len()), (2, 2));
}

#[test]
fn oppo_pictures_have_day_budgets() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.budgets = "oppo_big: { limit: 2, window: 24h }, oppo_icon: { limit: 1, window: 24h }".into();
    let gateway = Gateway::start(&config);
    let post = |path: &str, json: &str| gateway.call(&Request::post(path, json).bearer(Tokens::ORDERS));
    let used = || ["oppo_big", "oppo_icon", "push"].map(|budget| gateway.used("app", budget));
    let big = picture("oppo_file", "1", &png(984, 369, 0));
    assert_eq!(gateway.call(&upload("/v3/images/byfiles", big.clone())).status, 200);
    assert_eq!(used(), [1, 0, 1]);
    // OPPO inherits the URL; another channel's URL does not concern OPPO.
    let inherited = r#"{"image_type":1,"image_url":"https://x.example/y"}"#;
    assert_eq!(post("/v3/images/byurls", inherited).status, 200);
    let foreign = r#"{"image_type":1,"vivo_image_url":"https://x.example/y"}"#;
    assert_eq!(post("/v3/images/byurls", foreign).status, 200);
    assert_eq!(used(), [2, 0, 3]);
    gateway.call(&upload("/v3/images/byfiles", big)).assert_refused(429, "budget-exhausted", 2002);
    // A call gets slots of all its budgets or of none: the icon's is free, the big picture's is not.
    let both = r#"{"big_picture_url":"https://x.example/y","small_picture_url":"https://x.example/z"}"#;
    post("/v4/image/oppo", both).assert_refused(429, "budget-exhausted", 2002);
    assert_eq!(used(), [2, 0, 3]);
    assert_eq!(post("/v4/image/oppo", r#"{"small_picture_url":"https://x.example/z"}"#).status, 200);
    assert_eq!((used(), vendor.requests().len()), ([2, 1, 4], 4));
}

#[test]
fn rules_that_only_report_let_pass_count_and_log() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.more = "files: { txt: report }\nimages: { oppo: { big: { mode: report } } }".into();
    let gateway = Gateway::start(&config);
    let csv = alias(form(&[part("filename", Some("private.csv"), b"anna")]));
    assert_eq!(gateway.call(&csv).status, 200);
    let odd = picture("oppo_file", "1", &png(9, 9, 0));
    assert_eq!(gateway.call(&upload("/v3/images/byfiles", odd)).status, 200);
    assert_eq!(vendor.requests().len(), 2);
    for rule in ["list_name", "oppo_dimensions"] {
        let series =
            |outcome| format!(r#"jpush_gateway_body_refusals_total{{outcome="{outcome}",rule="{rule}"}}"#);
        assert!((gateway.metric(&series("reported")) - 1.0).abs() < 0.5);
        assert!(gateway.metric(&series("refused")) < 0.5);
        wait_until("the line in the log", || gateway.program.err().contains(rule));
    }
    assert!(!gateway.program.err().contains("private"), "{}", gateway.program.err());
    // Other rules still refuse.
    assert_invalid(&gateway.call(&alias(form(&[part("filename", None, b"")]))), 1103, &["empty"]);
}

/// Sends an upload's head and all of its body but the last byte.
fn begin(gateway: &Gateway, token: &str, body: &[u8]) -> Connection {
    let request = Request::new("POST", "/v3/files/alias").basic("shop", token).header("Content-Type", FORM);
    let mut head = request.head();
    write!(head, "Content-Length: {}\r\n\r\n", body.len()).expect("writing to a String cannot fail");
    let mut connection = gateway.connect();
    connection.send(head);
    // The connection may be closed if the upload is refused before its body is read.
    let _ = connection.try_send(&body[..body.len() - 1]);
    connection
}

#[test]
fn uploads_at_once_stay_within_the_memory_for_bodies() {
    const GAUGE: &str = "jpush_gateway_body_memory_bytes";
    const MEMORY: f64 = 1024.0 * 1024.0;
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.limits = "body_memory: 1MiB, json_body: 64KiB, batch_body: 64KiB".into();
    config.workers = 2;
    let gateway = Gateway::start(&config);
    let body = form(&[list("anna\n".repeat(50 * 1024))]);
    // Two bodies fit the half that one caller may hold, and four fit the whole.
    assert!((250_000..1024 * 1024 / 4).contains(&body.len()));
    let tokens = [Tokens::ORDERS, Tokens::BOTH, Tokens::FILER];
    let mut uploads: Vec<_> = (0..12).map(|number| begin(&gateway, tokens[number % 3], &body)).collect();
    let full = 4.0 * f64::from(u32::try_from(body.len()).expect("a small body"));
    wait_until("the memory is full", || {
        let held = gateway.metric(GAUGE);
        assert!(held <= MEMORY, "{held}");
        held >= full
    });
    let refused = || {
        gateway.metric(r#"jpush_gateway_refusals_total{caller="orders",operation="file-upload",reason="overloaded",tenant="shop"}"#)
    };
    wait_until("those that do not fit are refused", || {
        let others = ["both", "filer"].map(|caller| {
            gateway.metric(&format!(r#"jpush_gateway_refusals_total{{caller="{caller}",operation="file-upload",reason="overloaded",tenant="shop"}}"#))
        });
        refused() + others[0] + others[1] > 7.5
    });
    assert!(gateway.metric(GAUGE) <= MEMORY);
    let mut outcomes = [0, 0];
    for upload in &mut uploads {
        let _ = upload.try_send(&body[body.len() - 1..]);
        let answer = upload.read_answer();
        if answer.status == 200 {
            outcomes[0] += 1;
        } else {
            answer.assert_refused(503, "overloaded", 1030);
            assert!(answer.number("Retry-After") >= 1);
            outcomes[1] += 1;
        }
    }
    assert_eq!((outcomes, vendor.requests().len()), ([4, 8], 4));
    wait_until("all memory is free", || gateway.metric(GAUGE) < 0.5);
    assert_eq!(gateway.call(&alias(body)).status, 200);
}
