//! Tests of forms that parsers read in different ways, and of forms that real clients write.

use crate::support::{Answer, Config, Gateway, Request, Stub, Tokens};

const FORM: &str = "multipart/form-data; boundary=xyz";

/// The start of a JPEG of 984x369 pixels up to its frame header, with bytes between its segments that libjpeg skips.
const BIG: &[u8] =
    b"\xFF\xD8\xFF\xFF\xE0\0\x04ab\xFF\x01stray\xFF\xFF\xFF\xC0\0\x0B\x08\x01\x71\x03\xD8\x01\x01\x11\0";

fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--xyz\r\nContent-Disposition: {disposition}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn ended(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), b"--xyz--\r\n".to_vec()].concat()
}

/// A form with pictures for both channels; `oppo` is the part for OPPO.
fn pictures(oppo: Vec<u8>) -> Vec<u8> {
    let xiaomi = part("form-data; name=\"xiaomi_file\"; filename=\"x.jpg\"", BIG);
    ended(&[xiaomi, part("form-data; name=\"image_type\"", b"1"), oppo])
}

fn upload(path: &str, content_types: &[&str], body: Vec<u8>) -> Request {
    let request = Request::new("POST", path).bearer(Tokens::ORDERS);
    content_types.iter().fold(request, |request, value| request.header("Content-Type", value)).body(body)
}

/// A gateway with a budget of one big OPPO picture per day.
fn start(vendor: &Stub) -> Gateway {
    let mut config = Config::new(&vendor.url());
    config.budgets = "oppo_big: { limit: 1, window: 24h }".into();
    Gateway::start(&config)
}

#[track_caller]
fn assert_unclear(answer: &Answer, what: &str) {
    answer.assert_refused(400, "invalid-body", 1103);
    assert!(answer.text().contains("in one way"), "{what}: {}", answer.text());
}

#[test]
fn no_picture_hides_from_the_day_budget() {
    let vendor = Stub::good();
    let gateway = start(&vendor);
    let send = |body| gateway.call(&upload("/v3/images/byfiles", &[FORM], body));
    let plain = part("form-data; name=\"oppo_file\"; filename=\"o.jpg\"", BIG);
    let folded = part("form-data;\r\n\tname=\"oppo_file\";\r\n filename=\"o.jpg\"", BIG);
    // A folded header line is allowed, and the picture counts.
    assert_eq!(send(pictures(folded.clone())).status, 200);
    for body in [pictures(folded), pictures(plain.clone())] {
        send(body).assert_refused(429, "budget-exhausted", 2002);
    }
    for disposition in [
        "form-data; name=\" oppo_file \"; filename=\"o.jpg\"",
        "form-data; name=\"=?UTF-8?B?b3Bwb19maWxl?=\"; filename=\"o.jpg\"",
        "form-data; name*=utf-8''oppo_file; filename=\"o.jpg\"",
        "form-data; name=\"x\"; name=\"oppo_file\"; filename=\"o.jpg\"",
        "form-data; filename=\"o\\\\\"; name=\"oppo_file\"",
        "form-data; x=a\"b; y=\"; name=\"oppo_file\"; z=\"",
        "form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"oppo_file\"; filename=\"o.jpg\"",
    ] {
        assert_unclear(&send(pictures(part(disposition, BIG))), disposition);
    }
    let headless = [b"--xyz\r\n\r\nX: y\r\n", &plain["--xyz\r\n".len()..]].concat();
    let inner = part("form-data; name=\"x\"\r\nContent-Type: multipart/mixed; boundary=abc", &plain);
    let lone = plain.strip_prefix(b"--xyz\r\n").map(|rest| [b"--xyz\n", rest].concat()).expect("a boundary");
    for (what, body) in [
        ("no head", pictures(headless)),
        ("a form in a form", pictures(inner)),
        ("LF behind the boundary", pictures(lone)),
        (
            "a first boundary in the middle of a line",
            [b"junk".to_vec(), plain.clone(), pictures(Vec::new())].concat(),
        ),
        ("a part behind the closing boundary", [pictures(Vec::new()), ended(&[plain])].concat()),
    ] {
        assert_unclear(&send(body), what);
    }
    assert_eq!((gateway.used("app", "oppo_big"), vendor.requests().len()), (1, 1));
}

#[test]
fn a_form_has_one_boundary() {
    let vendor = Stub::good();
    let gateway = start(&vendor);
    let body = || pictures(part("form-data; name=\"oppo_file\"; filename=\"o.jpg\"", BIG));
    let refused: [&[&str]; 6] = [
        &["multipart/form-data; boundary=abc; boundary=xyz"],
        &["multipart/form-data; boundary=xyz; boundary=abc"],
        &["multipart/form-data; boundary=xyz; boundary*=utf-8''abc"],
        &["multipart/form-data; boundary=\"xyz \""],
        &[FORM, "multipart/form-data; boundary=abc"],
        &[FORM, FORM],
    ];
    for content_types in refused {
        let answer = gateway.call(&upload("/v3/images/byfiles", content_types, body()));
        assert_unclear(&answer, content_types[0]);
    }
    assert_eq!((gateway.used("app", "oppo_big"), vendor.requests().len()), (0, 0));
    // For JSON bodies, `Content-Type` does not matter.
    let push = Request::post("/v3/push", r#"{"platform":"all","audience":"all"}"#).bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&push.header("Content-Type", "text/plain")).status, 200);
}

#[test]
fn file_names_pass_as_clients_write_them() {
    let vendor = Stub::good();
    let gateway = start(&vendor);
    for disposition in [
        // Written by Spring's RestTemplate 4.
        "form-data; name=\"filename\"; filename=\"=?UTF-8?Q?=E5=90=8D=E5=8D=95.txt?=\"",
        "form-data; name=\"filename\"; filename=\"=?UTF-8?B?5ZCN5Y2V5ZCN5Y2V?=\r\n =?UTF-8?B?LnR4dA==?=\"",
        // Written by Python's email package.
        "form-data; name=\"filename\";\r\n filename=\"=?utf-8?b?5ZCN5Y2VLnR4dA==?=\"",
        "form-data; name=\"filename\";\r\n filename*0*=utf-8''%E5%90%8D;\r\n filename*1*=%E5%8D%95.txt",
        "form-data; name=\"filename\"; filename*=utf-8''%E5%90%8D.txt",
    ] {
        let body = ended(&[part(disposition, b"anna\n")]);
        let answer = gateway.call(&upload("/v3/files/alias", &[FORM], body.clone()));
        assert_eq!(answer.status, 200, "{disposition}: {}", answer.text());
        assert_eq!(vendor.requests().pop().expect("it was sent").body, body);
    }
    let csv = "form-data; name=\"filename\"; filename=\"=?UTF-8?Q?=E5=90=8D.csv?=\"";
    let answer = gateway.call(&upload("/v3/files/alias", &[FORM], ended(&[part(csv, b"anna\n")])));
    answer.assert_refused(400, "invalid-body", 1103);
}

#[test]
fn a_file_that_was_not_chosen_is_absent() {
    let vendor = Stub::good();
    let gateway = start(&vendor);
    let send = |oppo: &[u8], xiaomi: &[u8]| {
        let file = |name| {
            format!("form-data; name=\"{name}\"; filename=\"\"\r\nContent-Type: application/octet-stream")
        };
        let kind = part("form-data; name=\"image_type\"", b"1");
        let body = ended(&[part(&file("oppo_file"), oppo), part(&file("xiaomi_file"), xiaomi), kind]);
        gateway.call(&upload("/v3/images/byfiles", &[FORM], body))
    };
    assert_eq!([send(b"", BIG).status, send(b"", BIG).status, send(BIG, b"").status], [200, 200, 200]);
    send(b"", b"").assert_refused(400, "invalid-body", 1102);
    assert_eq!((gateway.used("app", "oppo_big"), vendor.requests().len()), (1, 3));
}

#[test]
fn the_query_cannot_say_another_type_than_the_form() {
    let vendor = Stub::good();
    let gateway = start(&vendor);
    let body = || pictures(part("form-data; name=\"oppo_file\"; filename=\"o.jpg\"", BIG));
    let answer = gateway.call(&upload("/v3/images/byfiles?image_type=3", &[FORM], body()));
    answer.assert_refused(400, "invalid-body", 1103);
    assert_eq!(gateway.call(&upload("/v3/images/byfiles?image_type=1", &[FORM], body())).status, 200);
    assert_eq!((gateway.used("app", "oppo_big"), vendor.requests().len()), (1, 1));
}
