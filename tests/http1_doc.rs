//! The page about HTTP/1.1 names the tests that show each requirement. They exist.

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../docs/http1.md");

/// The tests that a line names: a file from the root, and a function in it.
fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::"))
}

/// Whether a file has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let mut lines = text.lines().map(str::trim);
    let mut last = "";
    lines.any(|line| {
        let is_it = line.trim_start_matches("async ").starts_with(&function);
        let before = std::mem::replace(&mut last, line);
        is_it && matches!(before, "#[test]" | "#[tokio::test]")
    })
}

#[test]
fn every_test_that_the_page_names_exists() {
    let missing = PAGE.lines().flat_map(named).filter(|(file, name)| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        !text.is_ok_and(|text| has_test(&text, name))
    });
    let missing: Vec<_> = missing.map(|(file, name)| format!("{file}::{name}")).collect();
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}

#[test]
fn every_row_has_five_columns_and_names_a_test() {
    let rows: Vec<_> = PAGE.lines().filter(|line| line.starts_with("| 9")).collect();
    assert!(rows.len() > 40, "the tables were not found");
    for row in rows {
        assert_eq!(row.matches('|').count(), 6, "{row}");
        assert!(named(row).count() > 0, "no test: {row}");
    }
}

#[test]
fn a_test_is_told_from_another_function() {
    let text = "#[test]\nfn one() {}\n    #[tokio::test]\n    async fn two() {}\nfn three() {}\n";
    assert_eq!(["one", "two", "three", "on"].map(|name| has_test(text, name)), [true, true, false, false]);
}
