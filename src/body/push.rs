//! Pushes: to an audience, on behalf of a group, and to the devices of a target list.
//!
//! Limits are those of the vendor's push documentation (`D/rest_api_v3_push`, S3). Values of other kinds than the
//! documented ones pass where no rule names them: the schema grows every few weeks.

use super::cid::is_cid;
use super::json::{self, Value};
use super::{Facts, Fault, Rule, Verdict};

/// A tag or an alias, in bytes of UTF-8.
const VALUE_BYTES_MAX: usize = 40;

/// Which rule a push is judged by.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// To an audience of one application, whose cids start with its key.
    Single { app_key: &'a str },
    /// To an audience of several applications; its cid is not checked.
    Group,
    /// To the devices of a target list. A cid of another form is not refused, but is none to rely on either.
    File { app_key: &'a str },
    /// Inside a schedule: by the audience it has, its cid aside.
    Scheduled,
}

/// Judges a body that is a push.
pub(super) fn check(kind: Kind<'_>, body: &[u8], facts: &mut Facts) -> Verdict {
    let mut reading = Reading::new(kind);
    let parsed = json::object(body, |key, value| reading.take(key, value, facts));
    facts.names_cid = reading.cids > 0;
    facts.has_cid = reading.cids > 0 && reading.cids == reading.cids_good;
    parsed?;
    reading.verdict(Absent::Refused)
}

/// The cid that a push carries, the last one if there are several; of any form and length.
pub fn cid(body: &[u8]) -> Option<Box<str>> {
    let mut cid = None;
    // What is not JSON any more behind it does not take it back.
    let _ = json::object(body, |key, value| {
        if key == "cid" && !value.is_null() {
            cid = value.text().map(Box::from);
        }
    });
    cid
}

/// What to make of a field that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is required.
    Refused,
    /// It keeps its old value.
    Kept,
}

/// A push, entry by entry.
pub(super) struct Reading<'k> {
    kind: Kind<'k>,
    platform: bool,
    audience: bool,
    /// Some audience is no target list.
    open_audience: bool,
    cids: u32,
    cids_good: u32,
    fault: Option<Fault>,
}

impl<'k> Reading<'k> {
    pub(super) fn new(kind: Kind<'k>) -> Self {
        Self {
            kind,
            platform: false,
            audience: false,
            open_audience: false,
            cids: 0,
            cids_good: 0,
            fault: None,
        }
    }

    /// Takes one entry of the push.
    pub(super) fn take(&mut self, key: &str, value: Value<'_>, facts: &mut Facts) {
        let verdict = match key {
            "platform" => {
                self.platform |= !value.is_null();
                Ok(())
            }
            "audience" if !value.is_null() => {
                self.audience = true;
                self.open_audience |= !goes_to_list(self.kind, value);
                check_audience(self.kind, value, facts)
            }
            "cid" => self.take_cid(value),
            _ => Ok(()),
        };
        note(&mut self.fault, verdict);
    }

    /// The first thing that was wrong.
    pub(super) fn verdict(self, absent: Absent) -> Verdict {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        // A file push is known by its audience alone, also inside a schedule.
        let needs_platform = self.open_audience || !(self.audience || matches!(self.kind, Kind::File { .. }));
        if !self.platform && absent == Absent::Refused && needs_platform {
            return Err(Fault::new(
                Rule::PlatformMissing,
                "the push has no platform; send \"all\" or a list of platforms",
            ));
        }
        if !self.audience && absent == Absent::Refused {
            return Err(Fault::new(Rule::AudienceMissing, "the push has no audience"));
        }
        Ok(())
    }

    fn take_cid(&mut self, value: Value<'_>) -> Verdict {
        self.cids += 1;
        if value.is_null() {
            return Ok(());
        }
        let text = value.text().unwrap_or_default();
        self.cids_good += u32::from(match self.kind {
            Kind::File { app_key } => is_cid(&text, app_key),
            Kind::Single { .. } | Kind::Group | Kind::Scheduled => !text.is_empty(),
        });
        match self.kind {
            Kind::Single { app_key } if !is_cid(&text, app_key) => Err(Fault::new(
                Rule::Cid,
                "cid is not one of this application's: {app key}-{uuid}, as GET /v3/push/cid hands them out",
            )),
            _ => Ok(()),
        }
    }
}

/// Keeps the first fault.
pub(super) fn note(fault: &mut Option<Fault>, verdict: Verdict) {
    if let Err(found) = verdict {
        fault.get_or_insert(found);
    }
}

/// Whether a push to this audience is a file push.
fn goes_to_list(kind: Kind<'_>, audience: Value<'_>) -> bool {
    match kind {
        Kind::File { .. } => true,
        Kind::Scheduled => entry_names(audience).any_file,
        Kind::Single { .. } | Kind::Group => false,
    }
}

fn check_audience(kind: Kind<'_>, audience: Value<'_>, facts: &mut Facts) -> Verdict {
    if let Some(text) = audience.text() {
        // Blanks and case are forgiven here only: a broadcast must not slip past by a spelling the vendor may take.
        facts.broadcast |= text.trim().eq_ignore_ascii_case("all");
    }
    if matches!(kind, Kind::File { .. }) {
        return check_file_audience(audience);
    }
    let (mut has_file, mut values) = (false, None);
    audience.each_entry(|key, value| {
        has_file |= key == "file" && !value.is_null();
        if let Some((count_max, bounded)) = limits(key.as_bytes()) {
            note(&mut values, check_list(key, value, count_max, bounded));
        }
    });
    match kind {
        Kind::Scheduled if has_file => {
            facts.audience_file = true;
            check_file_audience(audience)
        }
        _ if has_file => Err(Fault::new(
            Rule::AudienceFile,
            "audience.file passes on file pushes only: send this body to the file push of the same API",
        )),
        _ => values.map_or(Ok(()), Err),
    }
}

/// What stands in an audience besides `null`.
struct EntryNames {
    any_file: bool,
    any_other: bool,
}

fn entry_names(audience: Value<'_>) -> EntryNames {
    let mut names = EntryNames { any_file: false, any_other: false };
    audience.each_entry(|key, value| {
        if !value.is_null() {
            names.any_file |= key == "file";
            names.any_other |= key != "file";
        }
    });
    names
}

fn check_file_audience(audience: Value<'_>) -> Verdict {
    let names = entry_names(audience);
    if names.any_other || !audience.is_object() {
        return Err(Fault::new(
            Rule::FileAudience,
            "the audience of a file push takes file and nothing else: {\"file\":{\"file_id\":…}}",
        ));
    }
    if !names.any_file {
        return Err(Fault::new(Rule::FileMissing, "the audience of a file push has no file"));
    }
    let mut fault = None;
    audience.each_entry(|_, file| {
        if !file.is_null() {
            note(&mut fault, check_file(file));
        }
    });
    fault.map_or(Ok(()), Err)
}

fn check_file(file: Value<'_>) -> Verdict {
    if !file.is_object() {
        return Err(Fault::new(Rule::FileId, "audience.file is not an object; send {\"file_id\":…}"));
    }
    let (mut found, mut fault) = (false, None);
    file.each_entry(|key, id| {
        if key == "file_id" && !id.is_null() {
            found = true;
            if id.text().is_none_or(|id| id.trim().is_empty()) {
                let what = "audience.file.file_id is empty or no string; send the id an upload answered with";
                note(&mut fault, Err(Fault::new(Rule::FileId, what)));
            }
        }
    });
    match fault {
        Some(fault) => Err(fault),
        None if !found => Err(Fault::new(Rule::FileIdMissing, "audience.file has no file_id")),
        None => Ok(()),
    }
}

/// How many values a kind of audience takes, and whether each is bounded in bytes.
const fn limits(key: &[u8]) -> Option<(usize, bool)> {
    match key {
        b"tag" | b"tag_and" | b"tag_not" => Some((20, true)),
        b"alias" => Some((1000, true)),
        b"registration_id" => Some((1000, false)),
        b"segment" | b"abtest" => Some((1, false)),
        _ => None,
    }
}

fn check_list(key: &str, values: Value<'_>, count_max: usize, bounded: bool) -> Verdict {
    // Each value takes a byte at least, and a comma: most lists are too short to hold too many.
    if !bounded && values.bytes() / 2 < count_max {
        return Ok(());
    }
    let (mut count, mut long) = (0, None);
    values.each_item(|item| {
        count += 1;
        let bytes = if bounded { item.text().map_or(0, |text| text.len()) } else { 0 };
        if bytes > VALUE_BYTES_MAX {
            long.get_or_insert((count, bytes));
        }
    });
    if count > count_max {
        let what = format!("audience.{key} has {count} values; up to {count_max} pass");
        return Err(Fault::new(Rule::AudienceCount, what));
    }
    long.map_or(Ok(()), |(number, bytes)| {
        let what =
            format!("value {number} of audience.{key} has {bytes} bytes; up to {VALUE_BYTES_MAX} pass");
        Err(Fault::new(Rule::AudienceValueLength, what))
    })
}
