//! Tests of hostile text: it gives a fault, in time, and never a panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::config::document::{self, RemainingLimits};
use crate::config::tree::Node;
use crate::config::{units, urls};

#[test]
fn syntax_gives_one_fault_with_its_place() {
    let rows = [
        ("guard: 5s\nguard: 6s", "line 2, column 1: this key stands twice in its section"),
        ("a: { b: 1, 'b': 2 }", "line 1, column 12: this key stands twice in its section"),
        ("a: 1\n1: 2", "line 2, column 1: a key that is not a text…"),
        ("a: 1\n[ 1 ]: 2", "line 2, column 1: a key that is not a text…"),
        (
            "a: !!int hunter2-from-file",
            "line 1, column 4: a key that is not a text, or a value that does not fit its tag…",
        ),
        ("a: !secret hunter2-from-file", "line 1, column 4: tags are not used here"),
        ("%YAML 1.2\n---\na: 1", "line 1: directives are not used here"),
        ("a: 1\n b: 2", "not valid YAML: mapping values are not allowed in this context at line 2 column 3"),
        ("a: [ *x ]", "not valid YAML: unknown anchor at line 1 column 6"),
        ("a: [ 1", "not valid YAML: …"),
        (
            "a:\n\tb: 1",
            "not valid YAML: found character that cannot start any token at line 2 column 1, while scanning for the next token; a tab cannot indent (use spaces), and a text that begins with @ or ` needs quotes",
        ),
        ("a: \"\u{1}\"", "not valid YAML: …"),
        ("a: 1\n---\nb: 2", "not valid YAML: …"),
        ("a: \t b: c\n\t d", "not valid YAML: …"),
        ("allow: [ * ]", "not valid YAML: …"),
    ];
    for (text, expected) in rows {
        let faults = bad(text);
        let fits = expected.strip_suffix('…').map_or(faults == expected, |start| faults.starts_with(start));
        assert!(fits, "{text:?}\nexpected: {expected}\ngot:      {faults}");
    }
}

#[test]
fn bombs_are_refused_soon() {
    let bomb = |layers: usize| {
        let layer =
            |index: usize| format!("l{}: &l{} [{}]\n", index + 1, index + 1, format!("*l{index},").repeat(9));
        format!("l0: &l0 [x,x]\n{}", (0..layers).map(layer).collect::<String>())
    };
    let wide = |bytes: usize| format!("[&a [{}], {}]", "1,".repeat(bytes / 8), "*a,".repeat(bytes / 8));
    let long =
        |bytes: usize| format!("[&a {}, {}]", "x".repeat(bytes / 2), "*a,".repeat((bytes / 8).min(500_000)));
    let many = "%TAG !a! tag:x\n".repeat(BYTES_MAX / 20);
    let rows = [
        (bomb(20), "not valid YAML: repetition limit exceeded"),
        (wide(4 << 20), "line"),
        (wide(BYTES_MAX), "line 1: too many values"),
        (long(4 << 20), "line"),
        (long(BYTES_MAX), "line"),
        (many, "line 1: directives"),
        ("&a [*a]".to_owned(), "line"),
        ("[".repeat(BYTES_MAX), "line 1: too many open brackets"),
        ("{\n".repeat(BYTES_MAX / 2), "line 257: too many open brackets"),
        (format!("{}{}", "[".repeat(200), "]".repeat(200)), "line 1, column 65: too many levels"),
        ("- ".repeat(2 << 20), "line 1, column"),
        ("- ".repeat(BYTES_MAX / 2), "line 1: too many values"),
        ("a:\n".repeat(BYTES_MAX / 3), "line 8388609: too many values"),
        (" ".repeat(BYTES_MAX + 1), "the configuration is longer than 64 MiB"),
    ];
    for (text, expected) in rows {
        let start = Instant::now();
        let faults = bad(&text);
        assert!(faults.starts_with(expected), "{} bytes: {faults}", text.len());
        assert!(start.elapsed() < Duration::from_secs(30), "{} bytes took {:?}", text.len(), start.elapsed());
    }
}

#[test]
fn faults_stay_short_and_on_one_line() {
    let name = "n\u{1b}[2J\n".repeat(10_000);
    let faults = bad(&top(&format!("{}: 1", serde_json::to_string(&name).expect("a text"))));
    assert!(faults.len() < 2_000 && !faults.contains('\u{1b}'), "{faults}");
}

/// Strategy for any value, written as JSON, with keys and words of the schema among random ones.
fn value() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e400",
        "99999999999999999999999999",
        "\"\"",
        "\"off\"",
        "\"10s\"",
        "\"5MiB\"",
        "\"shop\"",
        "\"*\"",
        "\"push\"",
        "\"1x1\"",
        "\"127.0.0.1:0\"",
        "\"https://[::1]:1\"",
        "\"OTHER_SECRET\"",
    ])
    .prop_map(str::to_owned);
    let text = any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a text"));
    let leaf = prop_oneof![3 => words, 1 => text];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::hash_map(prop::sample::select(KEYS), inner, 0..6).prop_map(|entries| {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{key:?}: {value}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

const KEYS: &[&str] = &[
    "listeners",
    "address",
    "tls",
    "certificates",
    "certificate",
    "http2",
    "admin",
    "token",
    "workers",
    "vendor",
    "api",
    "proxy",
    "budgets",
    "push",
    "limit",
    "window",
    "burst",
    "guard",
    "limits",
    "json_body",
    "drain",
    "delay",
    "files",
    "images",
    "oppo",
    "big",
    "sizes",
    "tenants",
    "shop",
    "app",
    "key",
    "secret",
    "env",
    "file",
    "value",
    "region",
    "callers",
    "tokens",
    "sha256",
    "name",
    "allow",
    "quota",
    "weight",
    "wait",
    "reserve",
    "",
    "é",
    "x y",
];

proptest! {
    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        let _ = read(&text);
    }

    #[test]
    fn any_yaml_like_text_is_judged(text in "[a-c0-9:\\-\\[\\]{}&*!|>'\"%#,? \n\t]{0,80}") {
        let _ = read(&text);
    }

    #[test]
    fn any_value_is_judged(value in value()) {
        let _ = read(&value);
    }

    #[test]
    fn any_value_is_judged_at_every_key(key in prop::sample::select(KEYS), value in value()) {
        let entry = format!("{key:?}: {value}");
        let _ = read(&top(&entry));
        let _ = read(&tenant(&format!(", {entry}")));
        let _ = read(&caller(&format!(", {entry}")));
        let _ = read(&text(Extra { listener: &format!(", {entry}"), ..Extra::default() }));
    }

    #[test]
    fn any_quantity_is_judged(text in prop_oneof![any::<String>(), "[0-9]{1,22}(s|ms|y|ns|KiB|TiB|B|x[0-9]{1,12})?"]) {
        if let Ok(duration) = units::duration(&text) {
            prop_assert!(duration <= units::DURATION_MAX);
        }
        let _ = (units::size(&text), units::pixels(&text));
    }

    #[test]
    fn a_base_url_reads_as_it_was_written(text in "https?://[a-z0-9.:\\[\\]@/_-]{0,20}") {
        if let Ok(url) = urls::parse(&text) {
            prop_assert_eq!(urls::parse(&url.origin()), Ok(url));
        }
    }

    #[test]
    fn texts_keep_every_character(text in any::<String>()) {
        let json = serde_json::to_string(&text).expect("a text");
        if let Ok(document) = document::read(&json, &RemainingLimits::default()) {
            prop_assert!(matches!(document.root(), Node::Text(read) if read == text));
        }
    }
}
