//! Tests with canaries: no secret and no token appears in any output, in any form, whatever goes wrong.

use std::fmt::Write;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

use crate::support::{
    Authority, Config, Folder, Gateway, Keys, PROGRAM, PUSH, Request, Tokens, start_failing, stderr, stdout,
    tls_connect, tls_vendor, wait_until,
};

/// A secret that looks different when it is percent-encoded.
const ODD: &str = "odd/secret+of=market&26 1";
/// The secret that a reload brings and that occurs in files with faults.
const NEXT: &str = "nextSecretOfShop20261122";
const ADMIN: &str = "adminTokenForTests202612";

fn url_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// Every form in which a secret could appear.
fn forms() -> Vec<String> {
    let group = format!("group-{}", Keys::SHOP_GROUP);
    let users = [Keys::SHOP_APP, Keys::SHOP_DEV, &group, Keys::MARKET_APP, "shop", "market"];
    let words = Keys::SECRETS.into_iter().chain(Tokens::ALL).chain([ODD, NEXT, ADMIN]);
    let mut forms = Vec::new();
    for word in words {
        let hex = |digit: u8| char::from_digit(digit.into(), 16).expect("a digit");
        let hex = word.bytes().flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]).collect();
        forms.extend([word.to_owned(), url_encoded(word), hex, word.chars().rev().collect()]);
        let texts = users.iter().map(|user| format!("{user}:{word}")).chain([word.to_owned()]);
        for text in texts {
            forms.extend([STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text), URL_SAFE.encode(&text)]);
        }
        // Inside a longer text, base64 digits can start at any of three offsets; the first and the last digits depend
        // on the neighbours.
        for lead in ["", "x", "xx"] {
            let digits = STANDARD.encode(format!("{lead}{word}"));
            forms.push(digits[4..digits.len() - 4].to_owned());
        }
    }
    forms
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what} says nothing");
    for form in forms() {
        if let Some(at) = text.find(&form) {
            panic!("{form} in {what}: …{}…", text.get(at.saturating_sub(200)..).unwrap_or_default());
        }
    }
}

/// Good requests, bad ones, and some with secrets in wrong places.
fn requests() -> Vec<Request> {
    vec![
        Request::post("/v3/push", PUSH).basic(Keys::SHOP_APP, Tokens::ORDERS),
        Request::get("/v3/tags").bearer(Tokens::ORDERS),
        Request::post("/v3/grouppush", PUSH).basic("shop", Tokens::BOTH),
        Request::get("/v3/files").basic(Keys::SHOP_DEV, Tokens::BOTH),
        Request::post("/v3/push", PUSH).basic("market", Tokens::BOTH),
        Request::post("/v3/push", "{").bearer(Tokens::ORDERS),
        Request::get("/v3/tags").basic("shop", Tokens::PUSHER),
        Request::get("/v3/push/%2e%2e").bearer(Tokens::FILER),
        // Secrets in wrong places.
        Request::get("/v3/tags").basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET),
        Request::get("/v3/tags").basic(Tokens::ORDERS, "x"),
        Request::get("/v3/tags").header("Authorization", &format!("Bearer {}!", Tokens::ORDERS)),
        Request::get(&format!("/v3/{}?token={}", Tokens::ORDERS, Tokens::ORDERS)).bearer(Tokens::ORDERS),
        Request::new(Tokens::ORDERS, "/v3/push").bearer(Tokens::ORDERS),
        Request::get("/v3/tags").bearer(Tokens::BOTH).header("X-JPush-Tenant", Tokens::BOTH),
        Request::get("/v3/tags").bearer(Tokens::BOTH).header("X-JPush-Credential", Tokens::BOTH),
        Request::get("/v3/tags").header("Cookie", Tokens::ORDERS).header(Tokens::ORDERS, "1"),
        Request::post("/v3/push", &PUSH.replace("all", Tokens::ORDERS)).bearer("x"),
    ]
}

/// Replacements in a good configuration that put a secret into a faulty place.
fn faults() -> Vec<(String, String)> {
    let first = format!("value: {}", Keys::SHOP_GROUP_SECRET);
    let rows = [
        (first.as_str(), format!("value: [ {NEXT} ]")),
        (&first, format!("value: {{ {NEXT}: {NEXT} }}")),
        (&first, format!("valeu: {NEXT}")),
        (&first, format!("{NEXT}: x")),
        (&first, format!("value: {NEXT}, value: {NEXT}")),
        (&first, format!("value: !secret {NEXT}")),
        (&first, format!("value: \"{NEXT}\\n{NEXT}\"")),
        (&first, format!("value: \"{NEXT}")),
        (&first, format!("env: {NEXT}")),
        (&first, format!("file: {NEXT}")),
        (&first, NEXT.to_owned()),
        ("{ env: SHOP_APP_SECRET }", NEXT.to_owned()),
        ("guard: 10s", format!("guard: 10s\n{{ {NEXT}")),
        ("guard: 10s", format!("guard: 10s\n\t{NEXT}: {NEXT}")),
        ("guard: 10s", format!("guard: 10s\nlimits: {{ in_flight: 0 }} # {NEXT}")),
    ];
    rows.map(|(from, to)| (from.to_owned(), to)).into()
}

#[test]
fn nothing_comes_out_of_a_gateway_that_logs_everything() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign(&["localhost"]);
    let vendor = tls_vendor(&certificate, &key);
    let folder = Folder::new();
    folder.write("ca.pem", authority.pem());
    folder.write("tls.crt", &certificate);
    folder.write("tls.key", &key);
    let mut config = Config::new(&format!("https://localhost:{}", vendor.port()));
    config.listeners = "{ address: \"127.0.0.1:0\", tls: { certificates: [ { certificate: tls.crt, \
                        private_key: tls.key } ] } }"
        .into();
    config.vendor = "ca: ca.pem".into();
    config.admin = format!(", token: {{ sha256: {} }}", crate::support::sha256_hex(ADMIN.as_bytes()));
    config.more = "audit: { file: audit.log }".into();
    config.log = "trace";
    let mut gateway = Gateway::start_in(folder, &config);
    let client = authority.client(&[]);
    let mut answers = String::new();
    for request in requests() {
        let mut tls = tls_connect(&client, gateway.address(), "localhost").expect("a handshake");
        let answer = tls.connection.call(&request);
        write!(answers, "{answer:?} {}", answer.text()).expect("writing to a String cannot fail");
    }
    let page = |path: &str| {
        let request = Request::get(path).bearer(ADMIN).header("Connection", "close");
        crate::support::Connection::open(gateway.admin).call(&request).text()
    };
    let reload = |yaml: &str| {
        gateway.write_config(yaml);
        let request = Request::new("POST", "/reload").bearer(ADMIN).header("Connection", "close");
        crate::support::Connection::open(gateway.admin).call(&request).text()
    };
    // Reloads that fail in every way with secrets in the file, and one that succeeds.
    let good = config.yaml().replace(Keys::MARKET_APP_SECRET, &format!("\"{ODD}\""));
    for (from, to) in faults() {
        let said = reload(&good.replace(&from, &to));
        assert!(said.contains("failure"), "{to}: {said}");
        answers += &said;
    }
    answers += &reload(&good);
    assert!(answers.contains("tenant market changed: app"), "{answers}");
    for path in ["/status", "/metrics", "/", "/livez", "/readyz"] {
        assert_clean(path, &page(path));
    }
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
    wait_until("the log is read", || gateway.program.err().contains("stopped"));
    assert_clean("an answer", &answers);
    assert_clean("the access log", &gateway.program.out());
    let log = gateway.program.err();
    assert!(log.contains("ERROR") && log.contains("listening"), "it is the whole log");
    assert_clean("the log", &log);
    let audit = std::fs::read_to_string(gateway.folder.path().join("audit.log"));
    assert_clean("the audit log", &audit.expect("an audit log"));
}

#[test]
fn nothing_comes_out_of_the_command_line() {
    let folder = Folder::new();
    folder.write("shop-dev", Keys::SHOP_DEV_SECRET);
    let yaml =
        Config::new("http://127.0.0.1:1").yaml().replace(Keys::MARKET_APP_SECRET, &format!("\"{ODD}\""));
    let path = folder.write("gateway.yaml", yaml);
    let path = path.to_str().expect("UTF-8");
    for arguments in [
        &["check", "--config", path][..],
        &["explain", "--config", path, "POST", "/v3/push", "--as", "orders", "--json"],
        &["explain", "--config", path, "POST", "/v3/grouppush", "--as", "both", "--tenant", "shop"],
        &["explain", "--config", path, "GET", "/v3/files", "--as", "filer", "--tenant", "market", "--json"],
        &["explain", "--config", path, "GET", "/v3/tags", "--as", "pusher", "--json"],
    ] {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .env("SHOP_APP_SECRET", Keys::SHOP_APP_SECRET)
            .env("JPUSH_GATEWAY_LOG", "trace")
            .output()
            .expect("the program starts");
        assert_clean(arguments[0], &[stdout(&output), stderr(&output)].concat());
    }
    // A start that fails.
    let mut config = Config::new("http://127.0.0.1:1");
    config.log = "trace";
    config.shop = format!("cid: {NEXT}");
    config.more = format!("{NEXT}x: 1");
    config.guard = "soon";
    let (code, said) = start_failing(&folder, &config);
    assert_eq!(code, 1);
    assert!(said.contains("guard"), "{said}");
    for secret in Keys::SECRETS.into_iter().chain(Tokens::ALL) {
        assert!(!said.contains(secret), "{said}");
    }
}
