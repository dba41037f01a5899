//! Compares the form reader with recorded readings of other parsers; see the README of `tests/data/forms`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;

use futures_util::{FutureExt as _, stream};
use proptest::prelude::*;

use super::*;

const READINGS: &str = include_str!("../../../tests/data/forms/readings.jsonl");

/// Parts that the vendor reads.
const FIELDS: [&str; 5] = ["filename", "ttl", "oppo_file", "xiaomi_file", "image_type"];

/// Names and contents of parts; each character stands for a byte.
type Parts = Vec<(String, String)>;

/// A form, and the parts that each parser read in it; `None` if it refused the form.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    /// Forms as real clients write them.
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

/// The parts that this reader finds; `None` if it refuses the form.
fn ours(content_type: &str, body: &[u8]) -> Option<Parts> {
    let form = form::Form::parse(Some(&bytes(content_type)), body, None).ok()?;
    let mut parts = Vec::new();
    for name in FIELDS {
        if let Some(part) = form.part(name).ok()? {
            parts.push((name.to_owned(), text(part.content)));
        }
    }
    parts.sort();
    Some(parts)
}

/// The parts that `multer` finds.
fn multers(content_type: &str, body: &[u8]) -> Option<Parts> {
    let boundary = multer::parse_boundary(content_type).ok()?;
    let stream = stream::once(ready(Ok::<_, Infallible>(::bytes::Bytes::copy_from_slice(body))));
    let mut form = multer::Multipart::new(stream, boundary);
    let mut parts = Vec::new();
    while let Some(part) = form.next_field().now_or_never()?.ok()? {
        let name = part.name().unwrap_or_default().to_owned();
        let content = part.bytes().now_or_never()?.ok()?;
        if FIELDS.contains(&&*name) {
            parts.push((name, text(&content)));
        }
    }
    parts.sort();
    Some(parts)
}

/// A change to a form: its position, the bytes that are removed, and the bytes that are inserted.
type Edit = (prop::sample::Index, usize, &'static [u8]);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    const PIECES: [&[u8]; 24] = [
        b"",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\"",
        b"\\",
        b";",
        b"=",
        b":",
        b",",
        b"*",
        b"%",
        b"--",
        b"--xyz",
        b"\r\n\r\n",
        b"name",
        b"name=\"oppo_file\"",
        b"; name=oppo_file",
        b"filename=\"",
        b"Content-Disposition: form-data; name=\"oppo_file\"",
        b"=?UTF-8?Q?oppo_file?=",
        b"\xA0",
    ];
    let edit = (any::<prop::sample::Index>(), 0..4_usize, prop::sample::select(PIECES.to_vec()));
    proptest::collection::vec(edit, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn multer_finds_nothing_that_we_do_not(which in any::<prop::sample::Index>(), edits in edits()) {
        let cases: Vec<_> = READINGS.lines().collect();
        let case: Case = serde_json::from_str(cases[which.index(cases.len())]).expect("a case");
        let mut body = bytes(&case.body);
        for (at, length, piece) in edits {
            let at = at.index(body.len() + 1);
            let end = body.len().min(at + length);
            body.splice(at..end, piece.iter().copied());
        }
        let (ours, theirs) = (ours(&case.content_type, &body), multers(&case.content_type, &body));
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            // `NAME="x"` is no name to multer, so it may find fewer.
            let more: Vec<_> = theirs.iter().filter(|part| !ours.contains(part)).collect();
            prop_assert!(more.is_empty(), "{}: {:?} in\n{}", case.name, more, text(&body));
        }
    }
}

#[test]
fn no_form_that_passes_is_read_otherwise_by_another_parser() {
    let mut faults = Vec::new();
    for case in cases() {
        let ours = ours(&case.content_type, &bytes(&case.body));
        if ours.is_none() && case.lawful {
            faults.push(format!("{} is refused", case.name));
        }
        for (parser, theirs) in case.readings {
            let (Some(ours), Some(mut theirs)) = (&ours, theirs) else { continue };
            theirs.sort();
            if *ours != theirs {
                faults.push(format!(
                    "{}: {parser} reads {theirs:?} in {}\n{}",
                    case.name, case.content_type, case.body
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
}
