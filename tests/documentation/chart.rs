//! The Helm chart names what it can be given, and follows what the gateway says of itself. `scripts/helm` renders it.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use serde_yaml::Value;

use crate::{names, table};

const VALUES: &str = include_str!("../../deploy/helm/values.yaml");
const SCHEMA: &str = include_str!("../../deploy/helm/values.schema.json");
const CHART: &str = include_str!("../../deploy/helm/Chart.yaml");
const HELPERS: &str = include_str!("../../deploy/helm/templates/_helpers.tpl");

/// Values whose entries are others' to define: what is in them has no row and no schema of ours.
const WHOLE: [&str; 3] = ["resources", "store.resources", "sharedBudgets.redis"];

/// Paths of the values, without those within `WHOLE`.
fn values() -> BTreeSet<String> {
    fn add(before: &str, value: &Value, found: &mut BTreeSet<String>) {
        let entries = value.as_mapping().filter(|entries| !entries.is_empty() && !WHOLE.contains(&before));
        let Some(entries) = entries else {
            found.insert(before.to_owned());
            return;
        };
        for (key, value) in entries {
            let key = key.as_str().expect("a name");
            let path = if before.is_empty() { key.to_owned() } else { format!("{before}.{key}") };
            add(&path, value, found);
        }
    }
    let mut found = BTreeSet::new();
    add("", &serde_yaml::from_str(VALUES).expect("YAML"), &mut found);
    found
}

#[test]
fn every_value_of_the_chart_is_documented() {
    let documented = names("chart");
    let known: BTreeSet<_> = documented.iter().cloned().collect();
    assert_eq!(documented.len(), known.len(), "a value stands twice");
    assert_eq!(known, values());
}

#[test]
fn the_schema_of_the_chart_knows_every_value() {
    let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
    for path in values() {
        let mut place = &schema;
        for key in path.split('.') {
            place = &place["properties"][key];
        }
        assert!(place.is_object(), "{path} is not in the schema");
    }
    assert_eq!(schema["additionalProperties"], false, "a misspelt value is refused");
}

/// A change of these replaces the pods; the rest they take over while they run.
#[test]
fn the_chart_replaces_pods_for_what_needs_a_restart() {
    let (_, picked) = HELPERS.split_once("fromYaml) \"").expect("the list");
    let (picked, _) = picked.split_once("\" | toYaml").expect("its end");
    let picked: BTreeSet<_> = picked.split("\" \"").collect();
    let rows = table("needs-restart");
    let needed = rows.iter().filter_map(|row| row[0].trim_matches('`').split('.').next());
    // The address is the same in every release, and the token is taken over.
    let needed: BTreeSet<_> = needed.filter(|key| *key != "admin").collect();
    assert_eq!(picked, needed);
}

#[test]
fn the_chart_is_of_this_version() {
    let chart: Value = serde_yaml::from_str(CHART).expect("YAML");
    assert_eq!(chart["appVersion"].as_str(), Some(env!("CARGO_PKG_VERSION")));
}
