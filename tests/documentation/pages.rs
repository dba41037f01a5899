//! Front pages stay short, what points into a page finds its place there, and blocks to paste are those that are run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jpush_gateway::config;
use serde_yaml::Value;

use crate::{ALERTS, PAGES, names, page};

/// The most that is read before somebody begins, in bytes.
const FRONT_PAGE_BYTES_MAX: usize = 10_240;

#[test]
fn front_pages_are_short() {
    for name in ["README.md", "README.zh-CN.md"] {
        let bytes = page(name).len();
        assert!(bytes <= FRONT_PAGE_BYTES_MAX, "{name} has {bytes} bytes; up to {FRONT_PAGE_BYTES_MAX} pass");
    }
}

/// Sections, links and commands of both front pages are the same.
#[test]
fn both_front_pages_say_the_same() {
    let [english, chinese] = ["README.md", "README.zh-CN.md"].map(page);
    let without =
        |page, other: &str| -> Vec<_> { links(page).into_iter().filter(|link| link != other).collect() };
    assert_eq!(without(english, "README.zh-CN.md"), without(chinese, "README.md"));
    let levels = |page| headings(page).map(|heading| heading.len() - heading.trim_start_matches('#').len());
    assert!(levels(english).eq(levels(chinese)), "sections differ");
    assert_eq!(commands(english), commands(chinese));
}

/// Targets of a page's links, in order.
fn links(page: &str) -> Vec<String> {
    page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// Lines of a page's blocks, without remarks and without the picture.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```").skip(1).step_by(2).filter(|block| !block.starts_with('\n'));
    blocks.flat_map(str::lines).filter(|line| !line.starts_with('#')).collect()
}

/// Headings of a page with their marks; a `#` in a block is none.
fn headings(page: &str) -> impl Iterator<Item = &str> {
    page.split("```").step_by(2).flat_map(str::lines).filter(|line| line.starts_with('#'))
}

/// The names by which links find a page's headings: lower case, blanks as hyphens, and no punctuation.
fn anchors(page: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings(page).map(anchor).collect()
}

#[test]
fn links_within_the_pages_find_their_headings() {
    for (name, text) in PAGES {
        let folder = Path::new(name).parent().unwrap_or(Path::new(""));
        for link in links(text) {
            let Some((file, anchor)) = link.split_once('#') else { continue };
            let target = if file.is_empty() { Path::new(name).to_owned() } else { folder.join(file) };
            // Pages beside these, such as the README of a folder, are not known here.
            let path = target.to_str().expect("a name of ASCII").replace("docs/../", "");
            let Some((_, target)) = PAGES.iter().find(|(known, _)| *known == path) else { continue };
            assert!(anchors(target).contains(anchor), "{name} points to {link}, which is no heading");
        }
    }
}

#[test]
fn every_refusal_has_a_section() {
    let sections = anchors(page("docs/answers.md"));
    let reasons = names("refusals");
    assert!(reasons.len() >= 20, "{reasons:?}");
    for reason in &reasons {
        assert!(sections.contains(reason), "docs/answers.md has no section {reason}");
    }
}

/// Each alert names its section of the runbook, and the runbook has no section for an alert that is gone.
#[test]
fn every_alert_has_a_runbook() {
    let alerts: Value = serde_yaml::from_str(ALERTS).expect("YAML");
    let mut named = BTreeSet::new();
    for group in alerts["groups"].as_sequence().expect("groups") {
        for rule in group["rules"].as_sequence().expect("rules") {
            let alert = rule["alert"].as_str().expect("a name");
            let url = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
            assert_eq!(url, format!("docs/operating.md#{}", alert.to_lowercase()), "runbook_url of {alert}");
            named.insert(alert.to_owned());
        }
    }
    let (_, rest) = page("docs/operating.md").split_once("\n## Runbook\n").expect("the runbook");
    let (runbook, _) = rest.split_once("\n## ").expect("a section after it");
    let sections: BTreeSet<_> =
        headings(runbook).map(|line| line.trim_start_matches("### ").to_owned()).collect();
    assert_eq!(sections, named);
}

/// Blocks for SDKs are the programs that `scripts/sdks` runs, and each of these programs is shown once.
#[test]
fn blocks_for_sdks_are_those_that_are_run() {
    let mut shown: Vec<_> = page("docs/sdks.md").split("```").skip(1).step_by(2).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sdks.d");
    let script = fs::read_to_string(folder.with_extension("")).expect("the script that runs them");
    for entry in fs::read_dir(folder).expect("the programs") {
        let path = entry.expect("an entry").path();
        let program = fs::read_to_string(&path).expect("a program");
        let named = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let same = |block: &&str| block.split_once('\n').is_some_and(|(_, text)| text == program);
        let at = shown.iter().position(same);
        let at = at.unwrap_or_else(|| panic!("docs/sdks.md does not show {named} as it is"));
        shown.remove(at);
        let stem = named.split('.').next().expect("a name before the dot");
        assert!(script.contains(stem), "scripts/sdks does not run {named}");
    }
    assert!(shown.is_empty(), "nobody runs these blocks: {shown:?}");
}

/// The configuration that the tutorial has its reader write is a good one, and its token is the one that it shows.
#[test]
fn the_tutorials_configuration_is_good() {
    let tutorial = page("docs/tutorial.md");
    let (_, rest) = tutorial.split_once("```yaml\n").expect("a configuration");
    let (text, _) = rest.split_once("```").expect("its end");
    let folder = std::env::temp_dir().join(format!("jpush-gateway-tutorial-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("gateway.yaml");
    fs::write(&path, text).expect("a configuration");
    let missing = config::load(&path).err().map(|faults| faults.to_string());
    fs::write(folder.join("shop-secret"), "5e987ac6d2e04d95a9d8f0d1").expect("a secret");
    let read = config::load(&path).map_err(|faults| faults.to_string());
    fs::remove_dir_all(&folder).expect("the folder goes");
    let named = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let shown =
        missing.unwrap_or_default().replace(&named(&path), "gateway.yaml").replace(&named(&folder), ".");
    assert!(tutorial.contains(shown.trim()), "not the fault that the tutorial shows: {shown}");
    let config = read.expect("a good configuration");
    let (_, rest) = tutorial.split_once("\ntoken:  ").expect("a token");
    let token = rest.split('\n').next().expect("a line");
    let digest = jpush_gateway::secret::TokenDigest::of(token.as_bytes());
    assert!(config.callers[0].tokens[0].digest.matches(&digest));
}
