use super::*;

const LIST: &str =
    "--xyz\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"l.txt\"\r\n\r\na\nb\r\n";
const TTL: &str = "--xyz\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n720\r\n";

fn upload() -> Request {
    Request::new(BodyRule::TargetList)
}

/// A form with a target list and this `Content-Disposition`.
fn disposed(disposition: &str) -> Vec<u8> {
    format!("--xyz\r\nContent-Disposition: {disposition}\r\n\r\na\r\n--xyz--\r\n").into_bytes()
}

#[test]
fn forms_as_clients_write_them() {
    let bodies = [
        format!("{LIST}{TTL}--xyz--\r\n"),
        format!("{TTL}{LIST}--xyz--"),
        // J3 starts with CRLF and names types without a space.
        format!("\r\n{TTL}{}--xyz--\r\n", LIST.replace("\r\n\r\n", "\r\nContent-Type:text/plain\r\n\r\n")),
        // GO never closes the form.
        format!("{TTL}{}", LIST.trim_end()),
        format!("{LIST}{}", TTL.trim_end()),
        format!("{LIST}--xyz"),
        // Bytes before the first boundary and after the last are no part.
        format!("preamble\r\n{LIST}--xyz--\r\nepilogue\r\n"),
        format!("{LIST}--xyz\r\nX-Nothing: 1\r\n\r\nunnamed\r\n--xyz-- \t\r\n"),
        // Heads as Python's email package writes them.
        LIST.replace("; filename", ";\r\n filename") + "--xyz--\n",
    ];
    for body in bodies {
        assert_eq!(upload().passes(&body), Facts::default(), "{body}");
    }
}

#[test]
fn boundaries_come_from_the_content_type() {
    let body = format!("{LIST}{TTL}--xyz--\r\n");
    let good = [
        "multipart/form-data; boundary=xyz",
        "Multipart/Form-Data;charset=utf-8;BOUNDARY=\"xyz\"",
        "multipart/form-data; ; boundary = xyz ;",
        "multipart/form-data; charset=\"a, b\"; boundary=xyz",
    ];
    for content_type in good {
        Request { content_type: Some(content_type.as_bytes()), ..upload() }.passes(&body);
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(257));
    let bad = [
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=xy",
    ];
    for content_type in bad.into_iter().chain([
        &*long.leak(),
        "application/json; boundary=xyz",
        "multipart/form-data; xboundary=xyz",
        "multipart/form-data; boundary=xyz; boundary=xyz",
        "multipart/form-data; boundary*=utf-8''xyz",
        "multipart/form-data, boundary=xyz",
        "multipart/form-data; boundary=xyz, text/plain",
        "multipart/form-data; boundary=\"xyz \"",
        "multipart/form-data; boundary=xyz; x=\"\\\"\"",
        "multipart/form-data; boundary=xyz text",
    ]) {
        Request { content_type: Some(content_type.as_bytes()), ..upload() }.refuses(&body, Rule::Form, 1103);
    }
    Request { content_type: None, ..upload() }.refuses(&body, Rule::Form, 1103);
    for body in ["", "a\nb\n", "{}", "xyz", "--xyzz\r\n"] {
        upload().refuses(body, Rule::Form, 1103);
    }
    upload().refuses("--xyz--", Rule::ListMissing, 1102);
}

#[test]
fn dispositions_as_clients_write_them() {
    let good = [
        "form-data; name=\"filename\"; filename=\"名单.TXT\"",
        "form-data;name=filename;filename=l.txt",
        "FORM-DATA; NAME=\"filename\"; FILENAME=\"C:\\dir\\l.txt\"",
        "form-data; filename=\"a;b=x.txt\"; name=\"filename\"",
        "form-data; name=\"filename\"; filename=\"x.php?name=l.txt\"",
        "form-data; name=\"filename\"; filename=\"a\\\"b.txt\"",
        "form-data; name=\"filename\"; filename*=utf-8''%E5%90%8D%2Etxt",
        "form-data; name=\"filename\"; filename=\"x\"; filename*=UTF-8''l.txt",
        "form-data; name=\"filename\"; filename=\"l.txt \";",
        // Names beyond ASCII as Spring's RestTemplate 4 and Python's email package write them.
        "form-data; name=\"filename\"; filename=\"=?UTF-8?Q?=E5=90=8D=2Etxt?=\"",
        "form-data; name=\"filename\"; filename=\"=?utf-8?b?5ZCN?=\r\n =?utf-8?b?LnRYVA==?=\"",
        "form-data; name=\"filename\"; filename=\"=?UTF-8?Q?no_word\"",
        "form-data; name=\"filename\"; filename=\"=?utf-16?B?AC4AdAB4AHQ=?=\"",
        "form-data; name=\"filename\";\r\n\tfilename*0*=utf-8''%E5%90%8D%2E;\r\n filename*1=txt",
    ];
    for disposition in good {
        upload().passes(disposed(disposition));
    }
    for disposition in
        ["form-data; name=\"Filename\"; filename=\"l.txt\"", "form-data; filename=\"l.txt\"", "form-data"]
    {
        upload().refuses(disposed(disposition), Rule::ListMissing, 1102);
    }
    for disposition in [
        "form-data; name=\"filename\"",
        "form-data; name=\"filename\"; filename=\"txt\"",
        "form-data; name=\"filename\"; filename=\"=?UTF-8?Q?a.csv?=\"",
        "form-data; name=\"filename\"; filename=\"=?UTF-8?B?YS5jc3Y=?=\"",
    ] {
        upload().refuses(disposed(disposition), Rule::ListName, 1103);
    }
}

#[test]
fn ambiguous_forms_are_refused() {
    upload().refuses(format!("{LIST}{LIST}--xyz--"), Rule::FormPartTwice, 1103);
    upload().refuses(format!("{LIST}{TTL}{TTL}--xyz--"), Rule::FormPartTwice, 1103);
    upload().refuses(
        disposed("form-data; name=\"filename\"; filename=\"l.txt\"; name=\"x\""),
        Rule::Form,
        1103,
    );
    for disposition in [
        "form-data; name=\"filename \"; filename=\"l.txt\"",
        "attachment; name=\"filename\"; filename=\"l.txt\"",
        "form-data; filename=\"a;name=x.txt\"; name=\"filename\"",
        "form-data; name=\"filename\"; filename=\"l.txt",
    ] {
        upload().refuses(disposed(disposition), Rule::Form, 1103);
    }
    let second =
        "form-data; name=\"filename\"; filename=\"l.txt\"\r\nContent-Disposition: form-data; name=\"x\"";
    upload().refuses(disposed(second), Rule::Form, 1103);
    let headless = format!("--xyz\r\nContent-Disposition: form-data; name=\"ttl\"\r\n{LIST}--xyz--");
    upload().refuses(headless, Rule::Form, 1103);
    upload().refuses("--xyz\r\n--xyz--", Rule::Form, 1103);
    upload().refuses(format!("{LIST}--xyz--\r\nepilogue\r\n{LIST}"), Rule::Form, 1103);
}

#[test]
fn forms_are_bounded() {
    let other = "--xyz\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n";
    upload().passes(format!("{LIST}{}--xyz--", other.repeat(31)));
    upload().refuses(format!("{LIST}{}--xyz--", other.repeat(32)), Rule::Form, 1103);
    let head = |bytes: usize| LIST.replacen("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "x".repeat(bytes)), 1);
    let plain = LIST.find("\r\n\r\n").unwrap() - "--xyz\r\n".len() + "\r\nX: ".len() + "\r\n\r\n".len();
    upload().passes(head(8 * 1024 - plain));
    upload().refuses(head(8 * 1024 - plain + 1), Rule::Form, 1103);
}
