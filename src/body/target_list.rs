//! Checks uploads of target lists. Source: `docs/vendor.md`, V38.

use std::ops::Range;

use crate::config::{Files, Mode};

use super::form::Form;
use super::part_head::ends_in_txt;
use super::{BodyFault, Facts, Prescan, Rule, Subject, TargetScan, Verdict};

/// Upper bound of the time that the vendor keeps a list, in hours.
const TTL_HOURS_MAX: u32 = 720;

/// Checks an upload: the type in the path, the form, `ttl`, the file name and the lines.
pub(super) fn check(
    subject: &Subject<'_>,
    body: &[u8],
    prescan: Option<&Prescan>,
    facts: &mut Facts,
) -> Verdict {
    if !matches!(subject.value, Some("alias" | "registration_id")) {
        let what = "the path's type is neither alias nor registration_id";
        return Err(BodyFault::new(Rule::ListType, what));
    }
    let form = Form::parse(subject.content_type, body, prescan)?;
    let Some(list) = form.part("filename")? else {
        let what = "the form has no part named filename, which holds the target list";
        return Err(BodyFault::new(Rule::ListMissing, what));
    };
    if let Some(ttl) = form.part("ttl")? {
        check_ttl(ttl.content)?;
    }
    let named = check_ending(list.head.names_txt);
    match subject.files.txt {
        Mode::Enforce => named?,
        Mode::Report => facts.reported = named.err().map(|fault| fault.rule),
    }
    let good = prescan.and_then(|prescan| prescan.good_lines(list.content, list.start));
    if good.is_some_and(|good| rest_is_good(subject.files, list.content, good)) {
        return Ok(());
    }
    let mut scan = TargetScan::new(subject.files);
    scan.push(list.content);
    scan.finish().verdict(subject.files)
}

/// Whether a list is good, given a range of lines that the prescan found good.
fn rest_is_good(files: &Files, list: &[u8], good: Range<usize>) -> bool {
    let mut scan = TargetScan::new(files);
    scan.push(&list[..good.start]);
    scan.skip_good(&list[good.clone()]);
    scan.push(&list[good.end..]);
    scan.finish().verdict(files).is_ok()
}

/// Checks a file name as an upload would send it: it must end in `.txt`.
pub fn check_name(name: &[u8]) -> Result<(), BodyFault> {
    check_ending(ends_in_txt(name))
}

fn check_ending(names_txt: bool) -> Verdict {
    if names_txt {
        return Ok(());
    }
    Err(BodyFault::new(Rule::ListName, "the file name of the target list does not end in .txt"))
}

fn check_ttl(ttl: &[u8]) -> Verdict {
    let hours = std::str::from_utf8(ttl).ok().and_then(|text| text.trim().parse().ok());
    match hours {
        Some(1..=TTL_HOURS_MAX) => Ok(()),
        _ => Err(BodyFault::new(
            Rule::Ttl,
            format!("ttl is not a whole number of hours from 1 to {TTL_HOURS_MAX}"),
        )),
    }
}
