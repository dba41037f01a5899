//! What other parsers read in forms, recorded; see the README of `tests/data/forms`.

use std::collections::BTreeMap;

use super::*;

const READINGS: &str = include_str!("../../../tests/data/forms/readings.jsonl");

/// The parts that the vendor looks at.
const FIELDS: [&str; 5] = ["filename", "ttl", "oppo_file", "xiaomi_file", "image_type"];

/// Names and contents of parts; each character is a byte.
type Parts = Vec<(String, String)>;

/// A form, and what each parser read in it; `None`: it refused the form.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    /// As real clients write forms.
    lawful: bool,
    content_type: String,
    body: String,
    readings: BTreeMap<String, Option<Parts>>,
}

fn cases() -> impl Iterator<Item = Case> {
    READINGS.lines().map(|line| serde_json::from_str(line).expect("a case"))
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("a byte")).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// What we read; `None`: we refuse it.
fn ours(case: &Case) -> Option<Parts> {
    let (content_type, body) = (bytes(&case.content_type), bytes(&case.body));
    let form = form::Form::parse(Some(&content_type), &body, None).ok()?;
    let mut parts = Vec::new();
    for name in FIELDS {
        if let Some(part) = form.part(name).ok()? {
            parts.push((name.to_owned(), text(part.content)));
        }
    }
    parts.sort();
    Some(parts)
}

#[test]
fn no_form_that_passes_is_read_otherwise_by_another_parser() {
    let mut faults = Vec::new();
    for case in cases() {
        let ours = ours(&case);
        if ours.is_none() && case.lawful {
            faults.push(format!("{} is refused", case.name));
        }
        for (parser, theirs) in case.readings {
            let (Some(ours), Some(mut theirs)) = (&ours, theirs) else { continue };
            theirs.sort();
            if *ours != theirs {
                faults.push(format!("{}: {parser} reads {theirs:?} in {}\n{}", case.name, case.content_type, case.body));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
}
