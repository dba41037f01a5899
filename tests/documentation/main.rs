//! The documentation says what the code does: its tables, its blocks to paste, and what points into it.

mod chart;
mod pages;
mod schema;
mod tables;

/// The pages that have tables with markers, or that something points into.
const PAGES: [(&str, &str); 12] = [
    ("README.md", include_str!("../../README.md")),
    ("README.zh-CN.md", include_str!("../../README.zh-CN.md")),
    ("docs/answers.md", include_str!("../../docs/answers.md")),
    ("docs/bodies.md", include_str!("../../docs/bodies.md")),
    ("docs/budgets.md", include_str!("../../docs/budgets.md")),
    ("docs/configuration.md", include_str!("../../docs/configuration.md")),
    ("docs/operating.md", include_str!("../../docs/operating.md")),
    ("docs/operations.md", include_str!("../../docs/operations.md")),
    ("docs/sdks.md", include_str!("../../docs/sdks.md")),
    ("docs/tutorial.md", include_str!("../../docs/tutorial.md")),
    ("deploy/helm/README.md", include_str!("../../deploy/helm/README.md")),
    ("docs/upgrade.md", include_str!("../../docs/upgrade.md")),
];

const ALERTS: &str = include_str!("../../deploy/alerts.yaml");

/// The text of a page.
fn page(name: &str) -> &'static str {
    PAGES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no page {name}")).1
}

/// The table between the markers `<!-- name -->` and `<!-- /name -->`, which stand on one page: its rows without head
/// and rule. Of a cell that is a link, its text.
fn table(name: &str) -> Vec<Vec<String>> {
    let marker = format!("<!-- {name} -->");
    let mut found = PAGES.iter().flat_map(|(_, text)| text.split(&marker).skip(1));
    let rest = found.next().unwrap_or_else(|| panic!("no table {name}"));
    assert!(found.next().is_none(), "the table {name} stands twice");
    let (text, _) = rest.split_once(&format!("<!-- /{name} -->")).expect("the closing marker");
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(cell).collect()).collect()
}

fn cell(text: &str) -> String {
    let text = text.trim();
    let linked = text.strip_prefix('[').and_then(|rest| rest.split_once("](")).map(|(shown, _)| shown);
    linked.unwrap_or(text).replace("\\|", "|")
}

/// The names in the first column of a table. A row can have several.
fn names(table_name: &str) -> Vec<String> {
    let rows = table(table_name);
    let names = rows.iter().flat_map(|row| row[0].split(", ").map(|name| name.trim_matches('`').to_owned()));
    names.collect()
}
