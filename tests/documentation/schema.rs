//! The JSON schema of the configuration takes what the reader takes, and knows its keys.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use jpush_gateway::config;
use serde_json::{Value, json};

use super::tables::{DEMO, documented_keys, faults_of};

const SCHEMA: &str = include_str!("../../config/schema.json");

struct Checker {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Checker {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let schema = serde_json::from_str(SCHEMA).expect("JSON");
        compiler.add_resource("schema.json", schema).expect("a schema");
        let index = compiler.compile("schema.json", &mut schemas).expect("a good schema");
        Self { schemas, index }
    }

    fn takes(&self, document: &Value) -> Result<(), String> {
        self.schemas.validate(document, self.index).map_err(|error| format!("{error:#}"))
    }
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

#[test]
fn every_configuration_that_is_shown_fits_the_schema() {
    let checker = Checker::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut shown = 0;
    for folder in ["config", "examples", "examples/teams", "deploy/compose"] {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let of_others = ["compose.yaml", "prometheus.yaml"].map(|name| path.ends_with(name));
            if path.extension().is_some_and(|extension| extension == "yaml") && of_others == [false; 2] {
                let text = fs::read_to_string(&path).expect("a file");
                // Editors look beside the file.
                let named = text
                    .lines()
                    .next()
                    .and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
                let named = named.unwrap_or_else(|| panic!("{} names no schema", path.display()));
                let found = path.with_file_name(named).canonicalize().expect("a schema");
                assert_eq!(found, root.join("config/schema.json").canonicalize().expect("the schema"));
                assert_eq!(checker.takes(&yaml(&text)), Ok(()), "{}", path.display());
                shown += 1;
            }
        }
    }
    assert!(shown >= 10, "{shown}");
}

/// Where a path of keys leads, `*` for any name and `[]` for an item; `None` if the schema does not know it.
fn at<'s>(root: &'s Value, schema: &'s Value, path: &str) -> Option<&'s Value> {
    if let Some(name) = schema["$ref"].as_str() {
        return at(root, &root["$defs"][name.rsplit('/').next()?], path);
    }
    if let Some(kinds) = schema["anyOf"].as_array()
        && schema["properties"].is_null()
    {
        return kinds.iter().find_map(|kind| at(root, kind, path));
    }
    if path.is_empty() {
        return Some(schema);
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, is_item) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    let next =
        if name == "*" { schema.get("additionalProperties")? } else { schema["properties"].get(name)? };
    let next = if is_item { items(next)? } else { next };
    at(root, next, rest)
}

fn items(schema: &Value) -> Option<&Value> {
    match schema["anyOf"].as_array() {
        Some(kinds) => kinds.iter().find_map(|kind| items(kind)),
        None => schema.get("items"),
    }
}

/// All keys of the schema, `*` for any name and `[]` for an item.
fn keys(root: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return keys(root, &root["$defs"][name.rsplit('/').next().expect("a name")], path, found);
    }
    for kind in schema["anyOf"].as_array().into_iter().flatten() {
        keys(root, kind, path, found);
    }
    if schema["items"].is_object() {
        keys(root, &schema["items"], &format!("{path}[]"), found);
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys(root, inner, &path, found);
        found.insert(path);
    }
    if schema["additionalProperties"].is_object() {
        keys(root, &schema["additionalProperties"], &format!("{path}.*"), found);
    }
}

#[test]
fn the_schema_has_the_keys_that_the_reader_has() {
    let root: Value = serde_json::from_str(SCHEMA).expect("JSON");
    for key in documented_keys() {
        assert!(at(&root, &root, &key).is_some(), "the schema has no {key}");
    }
    assert!(at(&root, &root, "limits.patience").is_none());
    let mut found = BTreeSet::new();
    keys(&root, &root, "", &mut found);
    assert!(found.len() > 150, "{}", found.len());
    for key in found {
        let faults = faults_of(&key);
        assert!(!faults.contains("unknown key"), "{key} is not a key: {faults}");
    }
}

/// Values that neither the schema nor the reader takes, by their keys.
fn faulty() -> Vec<(&'static str, Vec<Value>)> {
    let spans =
        || vec![json!("soon"), json!(""), json!(10), json!("10"), json!(true), json!(["1s"]), json!("-1s")];
    let counts = || vec![json!(0), json!(-1), json!("many"), json!(1.5), json!(true), json!([1])];
    let sizes = || vec![json!("1MB"), json!("big"), json!(-1), json!(true), json!("1.5MiB")];
    let flags = || vec![json!("yes"), json!(1), json!([true])];
    let urls = || {
        vec![
            json!("api.jpush.cn"),
            json!("ftp://api.jpush.cn"),
            json!("https://"),
            json!("https://a/b"),
            json!(7),
        ]
    };
    let choices = || vec![json!("strict"), json!(true), json!(["enforce"])];
    vec![
        ("guard", spans()),
        ("limits.deadline", spans()),
        ("callers.*.wait", spans()),
        ("tenants.*.resend_guard", spans()),
        ("workers", counts()),
        ("budgets.push.limit", counts()),
        ("callers.*.weight", [counts(), vec![json!(1001)]].concat()),
        ("tenants.*.cid_batch", [counts(), vec![json!(1001)]].concat()),
        ("limits.connections", counts()),
        ("limits.json_body", sizes()),
        ("files.max", sizes()),
        ("vendor.forward_trace", flags()),
        ("callers.*.broadcast", flags()),
        ("drain.handover", flags()),
        ("vendor.api", urls()),
        ("tenants.*.vendor.report", urls()),
        ("files.txt", choices()),
        ("images.oppo.big.mode", choices()),
        ("tenants.*.region", vec![json!("shanghai"), json!(1), json!(["default"])]),
        ("tenants.*.cid", vec![json!("on"), json!(true), json!("always")]),
        ("images.oppo.big.sizes", vec![json!([]), json!(["984"]), json!("984x369"), json!([984])]),
        ("log", vec![json!("loud"), json!(1), json!({"level": "loud"}), json!({"colour": true})]),
        ("audit", vec![json!("stdout"), json!(true), json!({}), json!({"path": "x"})]),
        ("listeners", vec![json!([]), json!("0.0.0.0:8080"), json!([{}]), json!([{"address": "8080"}])]),
        ("admin.address", vec![json!("9090"), json!("localhost"), json!(9090)]),
        ("admin.token", vec![json!("abc"), json!({"sha256": "abc"}), json!({})]),
        (
            "tenants.*.app.secret",
            vec![json!("text"), json!({}), json!({"env": "A", "file": "b"}), json!({"vault": "x"})],
        ),
        ("tenants.*.app", vec![json!({}), json!({"key": "abc"}), json!("abc")]),
        ("callers.*.allow", vec![json!([]), json!(["pusch"]), json!("push"), json!([1])]),
        ("callers.*.tenants", vec![json!([]), json!("demo"), json!([1])]),
        ("callers.*.tokens", vec![json!([{}]), json!(["abc"]), json!([{"sha256": "zz"}]), json!("abc")]),
        (
            "callers.*.quota",
            vec![json!(5), json!({"limit": 5}), json!({"limit": 0, "window": "1s"}), json!({"window": "1s"})],
        ),
        (
            "shared_budgets",
            vec![
                json!({}),
                json!({"redis": {}}),
                json!({"redis": {"url": "http://x", "replicas": 2}}),
                json!({"redis": {"url": "redis://x", "replicas": 0}}),
            ],
        ),
        ("colour", vec![json!("red")]),
        ("tenants.*.colour", vec![json!("red")]),
        ("callers.*.colour", vec![json!("red")]),
    ]
}

#[test]
fn what_the_schema_refuses_is_refused_by_the_reader() {
    let checker = Checker::new();
    let good = yaml(DEMO);
    assert_eq!(checker.takes(&good), Ok(()));
    let mut tried = 0;
    for (key, values) in faulty() {
        for value in values {
            let mut document = good.clone();
            set(&mut document, key, value.clone());
            assert!(checker.takes(&document).is_err(), "the schema takes {key}: {value}");
            let text = serde_yaml::to_string(&document).expect("YAML");
            let read = config::parse(&text, Path::new("."), &config::System);
            assert!(read.is_err(), "the reader takes {key}: {value}");
            tried += 1;
        }
    }
    assert!(tried >= 100, "{tried}");
}

/// Puts a value at a path of keys; `*` is the first name there.
fn set(node: &mut Value, path: &str, value: Value) {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    if !node.is_object() {
        *node = json!({});
    }
    let entries = node.as_object_mut().expect("made above");
    let key = if step == "*" { entries.keys().next().expect("a name").clone() } else { step.to_owned() };
    let place = entries.entry(key).or_insert(Value::Null);
    if rest.is_empty() { *place = value } else { set(place, rest, value) }
}
