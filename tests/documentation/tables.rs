//! Each table equals the code: operations, bodies, metrics, refusals, configuration, commands and the fields of log lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jpush_gateway::auth::Unidentified;
use jpush_gateway::body::{Defect, Rule};
use jpush_gateway::budget::{
    BudgetSet, Budgets, CallerNumber, Cause, Exhausted, RateHeaders, Requester, Timestamp, take,
};
use jpush_gateway::config;
use jpush_gateway::operation::{
    Audience, BadPath, BudgetName, CredentialRule, Family, Host, NoMatch, OPERATIONS, Operation, OperationId,
};
use jpush_gateway::refusal::{Refusal, ReplyContext};
use jpush_gateway::telemetry::metrics::{Labels, Metrics, ReplayedBy, RuleOutcome};
use jpush_gateway::tenant::{CredentialKind, Denied, Directory, MissingRight};
use jpush_gateway::upstream::{CircuitOpen, CircuitState};
use serde_yaml::Value;

use crate::{ALERTS, names, table};

pub(crate) const DEMO: &str = include_str!("../../config/demo.yaml");
const EXAMPLE: &str = include_str!("../../config/example.yaml");

/// Compares the first columns of a table, and prints what they should be, ready to be pasted.
fn check(name: &str, expected: &[Vec<String>]) {
    let columns = expected[0].len();
    let shown: Vec<Vec<String>> =
        table(name).into_iter().map(|row| row.into_iter().take(columns).collect()).collect();
    let lines: Vec<_> = expected.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    assert!(shown == expected, "the table {name} should start so:\n{}", lines.join("\n"));
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[test]
fn operations_are_those_of_the_table() {
    let row = |operation: &Operation| {
        let credential = match operation.credential {
            CredentialRule::App => "app",
            CredentialRule::AppOrDev => "app or dev",
            CredentialRule::Group => "group",
        };
        let mut budget = operation.budget.as_str().to_owned();
        if matches!(operation.audience, Audience::Push | Audience::Params) {
            budget.push_str(", file¹");
        }
        vec![
            code(operation.name),
            code(&format!("{} {}", operation.method.as_str(), operation.path)),
            operation.host.as_str().to_owned(),
            credential.to_owned(),
            operation.scope.as_str().to_owned(),
            budget,
            operation.body.as_str().to_owned(),
        ]
    };
    check("operations", &OPERATIONS.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn metrics_are_those_of_the_registry() {
    let rendered = rendered_metrics();
    let mut metrics: BTreeMap<&str, (&str, BTreeSet<&str>)> = BTreeMap::new();
    for line in rendered.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            metrics.insert(name, (kind, BTreeSet::new()));
        } else if let Some((sample, rest)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.strip_suffix(end));
            let name = name.filter(|name| metrics.contains_key(name)).unwrap_or(sample);
            let labels = rest.split_once('}').expect("labels end").0.split("\",");
            let labels = labels.filter_map(|label| label.split_once('=')).map(|(label, _)| label);
            metrics.get_mut(name).expect("a typed sample").1.extend(labels.filter(|label| *label != "le"));
        }
    }
    assert!(metrics.len() >= 18, "metrics without a series are missing here: {metrics:?}");
    let row = |(name, (kind, labels)): (&&str, &(&str, BTreeSet<&str>))| {
        let labels: Vec<_> = labels.iter().copied().collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        vec![code(name), (*kind).to_owned(), labels]
    };
    check("metrics", &metrics.iter().map(row).collect::<Vec<_>>());
}

/// Every metric with at least one series.
fn rendered_metrics() -> String {
    let config = config::parse(DEMO, Path::new("."), &config::System).expect("the demo's configuration");
    let directory = Directory::new(&config, &Budgets::default());
    // Known once the vendor has said it.
    let mut draw = BudgetSet::default();
    let app = directory.tenants[0].credential(CredentialKind::App).expect("an app key");
    draw.add(Arc::clone(app.budget(BudgetName::Push).expect("a budget")));
    let requester = Requester::of(CallerNumber(0));
    let permit = take(&draw, &requester, Timestamp::default()).expect("a slot");
    permit.settle(Timestamp::default(), RateHeaders { limit: Some(600), ..RateHeaders::default() });
    let push = OperationId::named("push").expect("an operation");
    let (metrics, labels) =
        (Metrics::new(), Labels { operation: Some(push), tenant: "shop", caller: "demo" });
    metrics.request(None, labels, 200, Duration::ZERO);
    metrics.refusal(labels, "internal");
    metrics.vendor_answer(None, labels, 200, None, Duration::ZERO);
    metrics.vendor_failure(push, "timeout");
    metrics.retry(push);
    metrics.store_up(true);
    metrics.push_without_cid("shop");
    metrics.bad_request("malformed");
    metrics.replay(push, ReplayedBy::IdempotencyKey);
    metrics.body_rule(Rule::Json, RuleOutcome::Refused);
    metrics.tls.certificates([("0.0.0.0:8443", "gateway.example", 1)]);
    metrics.tls.handshake_failed("0.0.0.0:8443", "not-tls");
    metrics.vendor_circuits([("api.jpush.cn".to_owned(), CircuitState::Closed)]);
    metrics.render(&Arc::new(directory), Timestamp::default())
}

/// One or more refusals of every reason that has a fixed status and code.
fn refusals() -> Vec<Refusal> {
    let window = Duration::from_mins(1);
    let budget = |name| Exhausted::Budget { name, limit: 1, window, cause: Cause::UsedUp, wait: window };
    vec![
        Unidentified::Missing.into(),
        Unidentified::Wrong.into(),
        Unidentified::OtherCaller.into(),
        Denied::Forbidden(MissingRight::Tenant).into(),
        Denied::TenantRequired.into(),
        BadPath::Escape.into(),
        Refusal::BadRequest("".into()),
        NoMatch::UnknownEndpoint.into(),
        Refusal::MethodNotAllowed { allow: String::new() },
        Refusal::BodyTooLarge { limit_bytes: 1 },
        Refusal::HeaderTooLarge { limit: "" },
        Refusal::BodyTimeout { limit: window },
        budget(BudgetName::Push).into(),
        budget(BudgetName::Broadcast).into(),
        Refusal::IdempotencyConflict,
        Exhausted::Quota { limit: 1, window, wait: window }.into(),
        Refusal::Overloaded { what: "" },
        Refusal::StateFile,
        Refusal::Draining,
        Refusal::VendorUnreachable,
        CircuitOpen { retry_after: window }.into(),
        Refusal::VendorTimeout,
        Refusal::VendorInterrupted,
        Refusal::VendorRejectedCredential,
        Refusal::Internal,
    ]
}

#[test]
fn refusals_have_the_documented_statuses_and_codes() {
    let families = [Family::Push, Family::File, Family::Image, Family::Schedule, Family::Device, Family::V4];
    let mut outcomes: BTreeMap<&str, (BTreeSet<u16>, BTreeSet<u32>)> = BTreeMap::new();
    for refusal in refusals() {
        let (statuses, codes) = outcomes.entry(refusal.reason()).or_default();
        statuses.extend(families.map(|family| refusal.status(family).as_u16()));
        codes.extend(families.map(|family| refusal.code(family)));
    }
    let mut documented = table("refusals");
    // Their status or code is the vendor's, or the body rule's.
    let open = ["`invalid-body`", "`vendor-error-page`"];
    documented.retain(|row| !open.contains(&row[0].as_str()));
    for row in &documented {
        let (statuses, codes) = &outcomes[row[0].trim_matches('`')];
        assert_eq!(row[1], joined(statuses), "status of {}", row[0]);
        assert_eq!(row[2], joined(codes), "code of {}", row[0]);
    }
    assert_eq!(documented.len(), outcomes.len(), "each reason stands once");
}

/// A message ends with the place that says more, whatever the envelope, and that place is there.
#[test]
fn every_refusal_names_its_section() {
    let page = include_str!("../../docs/answers.md");
    let mut refusals = refusals();
    refusals.push(Defect { rule: Rule::Json, code: 1003, message: "no JSON".into() }.into());
    refusals.push(Refusal::VendorErrorPage { status: StatusCode::BAD_GATEWAY });
    let mut told = BTreeSet::new();
    for refusal in refusals {
        let reason = refusal.reason();
        told.insert(reason);
        assert!(page.contains(&format!("\n### {reason}\n")), "{reason} has no section");
        for operation in ["push", "push-quota", "push-template"] {
            let place = ReplyContext::Known(OperationId::named(operation).expect("an operation"));
            let body: Value = serde_yaml::from_str(&refusal.answer(place).body).expect("JSON");
            let messages = [&body["message"], &body["error"]["message"]];
            let messages: Vec<&str> = messages.into_iter().filter_map(Value::as_str).collect();
            let end = format!(" (docs/answers.md#{reason})");
            assert!(
                !messages.is_empty() && messages.iter().all(|message| message.ends_with(&end)),
                "{body:?}"
            );
        }
    }
    let documented = table("refusals");
    assert_eq!(told, documented.iter().map(|row| row[0].trim_matches('`')).collect());
}

fn joined(numbers: &BTreeSet<impl ToString>) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// No reason that the code can give is left out: read from the `match` that gives them.
#[test]
fn every_reason_is_documented() {
    let source = include_str!("../../src/refusal/mod.rs");
    let (_, rest) = source.split_once("pub fn reason(").expect("the function");
    let (body, _) = rest.split_once("pub fn ").expect("a function after it");
    let given: BTreeSet<_> = body.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let documented = table("refusals");
    let documented: BTreeSet<_> = documented.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(given, documented);
}

/// Paths of the documented keys, with `*` for a name and `[]` for an item.
pub(crate) fn documented_keys() -> Vec<String> {
    names("configuration")
}

#[test]
fn each_key_is_documented_once() {
    let mut known = BTreeSet::new();
    let twice: Vec<_> = documented_keys().into_iter().filter(|key| !known.insert(key.clone())).collect();
    assert!(twice.is_empty(), "documented twice: {twice:?}");
}

#[test]
fn every_documented_key_is_one_that_the_reader_takes() {
    for key in documented_keys() {
        assert!(!faults_of(&key).contains("unknown key"), "{key} is not a key: {}", faults_of(&key));
    }
    assert!(faults_of("limits.patience").contains("unknown key"));
    assert!(faults_of("callers.*.patience").contains("unknown key"));
}

/// What the reader says about the demo's configuration with a key set to `null`.
pub(crate) fn faults_of(key: &str) -> String {
    let mut document: Value = serde_yaml::from_str(DEMO).expect("YAML");
    set(&mut document, key);
    let text = serde_yaml::to_string(&document).expect("YAML");
    config::parse(&text, Path::new("."), &config::System)
        .err()
        .map(|faults| faults.to_string())
        .unwrap_or_default()
}

/// Puts `null` at a path, making the sections on the way. `*` is the first name there, `[]` the first item.
fn set(node: &mut Value, path: &str) {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let name = step.trim_end_matches("[]");
    if !matches!(node, Value::Mapping(_)) {
        *node = Value::Mapping(serde_yaml::Mapping::new());
    }
    let Value::Mapping(entries) = node else { unreachable!("made above") };
    let first = entries.keys().next().cloned();
    let key = if name == "*" { first.expect("a name") } else { Value::String(name.to_owned()) };
    let place = entries.entry(key).or_insert(Value::Null);
    if step.ends_with("[]") {
        if !matches!(place, Value::Sequence(items) if !items.is_empty()) {
            *place = Value::Sequence(vec![Value::Null]);
        }
        let Value::Sequence(items) = place else { unreachable!("made above") };
        return if rest.is_empty() { items[0] = Value::Null } else { set(&mut items[0], rest) };
    }
    if rest.is_empty() { *place = Value::Null } else { set(place, rest) }
}

/// The keys that the reader asks for, by its source, and those that it knows from tables.
#[test]
fn every_key_of_the_reader_is_documented() {
    let sections = [
        include_str!("../../src/config/mod.rs"),
        include_str!("../../src/config/audit.rs"),
        include_str!("../../src/config/budgets.rs"),
        include_str!("../../src/config/callers.rs"),
        include_str!("../../src/config/limits.rs"),
        include_str!("../../src/config/listeners.rs"),
        include_str!("../../src/config/log.rs"),
        include_str!("../../src/config/sources.rs"),
        include_str!("../../src/config/tenants.rs"),
        include_str!("../../src/config/vendor.rs"),
    ];
    let calls = [
        ".get(\"",
        ".required(\"",
        ".section(\"",
        ".flag(\"",
        ".duration(\"",
        ".size(\"",
        "count(&mut section, \"",
        "read_rule(&mut oppo, \"",
    ];
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for (section, call) in sections.iter().flat_map(|section| calls.map(|call| (section, call))) {
        asked.extend(section.split(call).skip(1).filter_map(|rest| rest.split('"').next()));
    }
    asked.extend(BudgetName::ALL.map(BudgetName::as_str));
    asked.extend(Host::ALL.map(Host::as_str));
    assert!(asked.contains("body_memory") && asked.contains("batch_body") && asked.contains("sha256"));
    let keys = documented_keys();
    let known: BTreeSet<_> =
        keys.iter().flat_map(|key| key.split('.')).map(|step| step.trim_end_matches("[]")).collect();
    let missing: Vec<_> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

#[test]
fn every_key_of_the_example_is_documented() {
    let mut keys = BTreeSet::new();
    collect(&serde_yaml::from_str(EXAMPLE).expect("YAML"), "", &mut keys);
    let documented = documented_keys();
    let is_documented = |key: &&String| {
        documented.iter().any(|known| {
            known == *key || known.starts_with(&format!("{key}.")) || known.starts_with(&format!("{key}[]"))
        })
    };
    let missing: Vec<_> = keys.iter().filter(|key| !is_documented(key)).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

fn collect(node: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match node {
        Value::Mapping(entries) => {
            for (name, value) in entries {
                let name = name.as_str().expect("a key is a text");
                // Tenants, callers and budgets of a tenant are named by the operator or by a table of their own.
                let step = if ["tenants", "callers"].contains(&path) { "*" } else { name };
                let path = if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
                keys.insert(path.clone());
                collect(value, &path, keys);
            }
        }
        Value::Sequence(items) if items.iter().any(Value::is_mapping) => {
            for item in items {
                collect(item, &format!("{path}[]"), keys);
            }
        }
        _ => {}
    }
}

/// An alert on a metric that does not exist never fires, and a panel of one is empty.
#[test]
fn alerts_and_the_dashboard_use_metrics_that_exist() {
    let metrics = table("metrics");
    let of_kind = |kind: &str| metrics.iter().filter(|row| row[1] == kind).collect::<Vec<_>>();
    let name = |row: &&Vec<String>| row[0].trim_matches('`').to_owned();
    let buckets = of_kind("histogram").iter().map(|row| name(row) + "_bucket").collect::<Vec<_>>();
    let single = ["counter", "gauge"].iter().flat_map(|kind| of_kind(kind)).map(|row| name(&row));
    let known: BTreeSet<_> = single.chain(buckets).collect();
    for text in [ALERTS, include_str!("../../deploy/grafana/jpush-gateway.json")] {
        for (at, _) in text.match_indices("jpush_gateway_") {
            let name = text[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
            let name = name.unwrap_or_default();
            assert!(known.contains(name), "{name} is no metric");
        }
    }
}

/// Bodies have their rules in one table, each under the name that the operations use.
#[test]
fn every_body_rule_is_documented_once() {
    let used: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.body.as_str().to_owned()).collect();
    let rows = table("body-rules");
    let documented: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    let known: BTreeSet<_> = documented.iter().cloned().collect();
    assert_eq!(known, used);
    assert_eq!(documented.len(), known.len(), "a rule stands twice");
}

/// The keys that a reload does not change, read from the list that the answer of a reload is made of.
#[test]
fn every_key_that_needs_a_restart_is_documented() {
    let source = include_str!("../../src/reload/changes.rs");
    let (_, rest) = source.split_once("fn changed_in(").expect("the function");
    let (list, _) = rest.split_once("])").expect("the end of its list");
    let keys: BTreeSet<_> = list.split("(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(keys.contains("state_file"), "{keys:?}");
    assert_eq!(keys, names("needs-restart").iter().map(String::as_str).collect());
}

#[test]
fn every_field_of_an_access_line_is_documented() {
    let fields = keys_written(include_str!("../../src/telemetry/access_line.rs"));
    assert!(fields.contains("time") && fields.contains("host"), "{fields:?}");
    assert_eq!(fields, names("access-line").iter().map(String::as_str).collect());
}

#[test]
fn every_field_of_an_audit_line_is_documented() {
    let fields = keys_written(include_str!("../../src/telemetry/audit_line.rs"));
    assert!(fields.contains("time") && fields.contains("duration_ms"), "{fields:?}");
    assert_eq!(fields, names("audit-line").iter().map(String::as_str).collect());
}

/// The keys that the code of a log line writes: what stands between two escaped quotes, before a colon.
fn keys_written(source: &str) -> BTreeSet<&str> {
    let (source, _) = source.split_once("#[cfg(test)]").expect("tests at the end");
    let pieces: Vec<_> = source.split("\\\"").collect();
    pieces.windows(2).filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0]).collect()
}

/// Commands as the program itself lists them, those of `token` and `validate` too.
#[test]
fn every_command_is_documented() {
    let mut commands = BTreeSet::new();
    for command in subcommands(&[]) {
        let inner = subcommands(&[&command]);
        if inner.is_empty() {
            commands.insert(command.clone());
        }
        commands.extend(inner.iter().map(|inner| format!("{command} {inner}")));
    }
    let rows = table("commands");
    let documented: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            let words = row[0].trim_matches('`').split(' ');
            words
                .take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert!(commands.contains("token new"), "{commands:?}");
    assert_eq!(documented, commands);
}

/// What `jpush-gateway COMMAND --help` lists.
fn subcommands(command: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_jpush-gateway")).args(command).arg("--help").output();
    let help = String::from_utf8(output.expect("the program runs").stdout).expect("UTF-8");
    let Some((_, rest)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

/// `promtool test rules` says nothing of an alert that no test names.
#[test]
fn every_alert_is_tested_firing_and_silent() {
    let parsed = |yaml| serde_yaml::from_str::<Value>(yaml).expect("YAML");
    let rules = parsed(include_str!("../../deploy/alerts.yaml"));
    let tests = parsed(include_str!("../../deploy/alerts_test.yaml"));
    let tests: Vec<_> =
        sequence(&tests["tests"]).flat_map(|test| sequence(&test["alert_rule_test"])).collect();
    for rule in sequence(&rules["groups"]).flat_map(|group| sequence(&group["rules"])) {
        let alert = &rule["alert"];
        let of_rule = tests.iter().filter(|test| test["alertname"] == *alert);
        let firing = of_rule.clone().filter(|test| test.get("exp_alerts").is_some()).count();
        assert!(firing > 0 && of_rule.count() > firing + 1, "{alert:?}: tested before, firing and after");
    }
}

fn sequence(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_sequence().expect("a sequence").iter()
}

/// So that whoever builds with it, as CI does, has checked `rust-version`.
#[test]
fn the_pinned_toolchain_is_the_oldest_that_is_promised() {
    let oldest = concat!(env!("CARGO_PKG_RUST_VERSION"), ".0");
    for (file, line) in [
        (include_str!("../../rust-toolchain.toml"), format!("channel = \"{oldest}\"")),
        (include_str!("../../deploy/Dockerfile"), format!("FROM rust:{oldest}-slim-bookworm AS build")),
        (include_str!("../../deploy/Dockerfile"), format!("ENV RUSTUP_TOOLCHAIN={oldest}")),
    ] {
        assert!(file.lines().any(|found| found == line), "no line is {line}");
    }
}
