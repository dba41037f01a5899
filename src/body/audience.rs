//! Audiences: what the vendor certainly refuses of them, and how far they reach.
//!
//! Limits are those of the vendor's push documentation (`docs/vendor.md`, V31). The kinds of one audience are
//! intersected, so one that names somebody is enough to narrow it; `tag_not` names nobody. How far a push reaches is
//! policy and fails closed: a kind that is not known narrows nothing, and a spelling that some parser would take
//! counts.

use super::json::Value;
use super::push::note;
use super::{BodyFault, Facts, Rule, Verdict};

/// A tag or an alias, in bytes of UTF-8.
const VALUE_BYTES_MAX: usize = 40;

/// How far a push reaches, in the widest reading of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It says nothing of an audience.
    #[default]
    Nobody,
    /// Whoever is named: tags, aliases, devices, a segment, a target list.
    Named,
    /// Nothing in it is known to narrow it: `tag_not` alone, an empty audience, a new kind alone.
    Open,
    /// `"all"`; or nobody can see whom it is for, so that everybody is possible.
    Everybody,
}

/// What an audience may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Anything but a target list.
    Devices,
    /// A target list and nothing else.
    File,
    /// Either.
    DevicesOrFile,
}

/// Judges an audience, and tells whom it reaches.
pub(super) fn check(takes: Takes, audience: Value<'_>, facts: &mut Facts) -> Verdict {
    let found = AudienceTraits::of(audience);
    facts.reach = facts.reach.max(found.reach());
    facts.audience_file |= found.file && takes != Takes::File;
    match takes {
        Takes::File => check_file_audience(audience),
        Takes::DevicesOrFile if found.has_file => check_file_audience(audience),
        Takes::Devices if found.has_file => Err(BodyFault::new(
            Rule::AudienceFile,
            "audience.file passes on file pushes only: send this body to the file push of the same API",
        )),
        Takes::Devices | Takes::DevicesOrFile => found.fault.map_or(Ok(()), Err),
    }
}

/// Tells whom an audience reaches where nothing is refused.
pub(super) fn tell(audience: Value<'_>, facts: &mut Facts) {
    let found = AudienceTraits::of(audience);
    facts.reach = facts.reach.max(found.reach());
    facts.audience_file |= found.file;
}

/// A kind of audience.
struct AudienceKind {
    name: &'static str,
    values_max: usize,
    /// Each value is bounded in bytes.
    bounded: bool,
    narrows: bool,
}

const fn list(name: &'static str, values_max: usize) -> AudienceKind {
    AudienceKind { name, values_max, bounded: false, narrows: true }
}

const KINDS: [AudienceKind; 9] = [
    AudienceKind { bounded: true, ..list("tag", 20) },
    AudienceKind { bounded: true, ..list("tag_and", 20) },
    AudienceKind { bounded: true, narrows: false, ..list("tag_not", 20) },
    AudienceKind { bounded: true, ..list("alias", 1000) },
    list("registration_id", 1000),
    list("segment", 1),
    list("abtest", 1),
    // No list of values, so that no limit of theirs holds.
    list("live_activity_id", usize::MAX),
    list(FILE, usize::MAX),
];

const FILE: &str = "file";

/// What stands in an audience.
#[derive(Default)]
struct AudienceTraits {
    all: bool,
    /// A target list, or what some parser takes for one.
    file: bool,
    /// `file`, spelled so.
    has_file: bool,
    /// The kinds that name somebody, a bit each.
    naming: u16,
    /// Those of which one entry names nobody: if a key stands twice, that one may count.
    void: u16,
    fault: Option<BodyFault>,
}

impl AudienceTraits {
    fn of(audience: Value<'_>) -> Self {
        // Blanks and case are forgiven here only: a broadcast must not slip past by a spelling the vendor may take.
        let all = audience.text().is_some_and(|text| text.trim().eq_ignore_ascii_case("all"));
        let mut found = Self { all, ..Self::default() };
        audience.each_entry(|key, value| found.take(key, value));
        found
    }

    fn take(&mut self, key: &str, value: Value<'_>) {
        let is_set = !value.is_null() && !value.is_false();
        // The Java SDK writes {"all":true,"file":false} beside an encrypted payload (`docs/vendor.md`, V35).
        self.all |= is_set && key.eq_ignore_ascii_case("all");
        let Some(position) = KINDS.iter().position(|kind| kind.name.eq_ignore_ascii_case(key)) else {
            return;
        };
        let kind = &KINDS[position];
        let (is_file, exact) = (kind.name == FILE, kind.name == key);
        self.file |= is_file && is_set;
        self.has_file |= is_file && exact && !value.is_null();
        let mut values = Values::of(kind, value);
        values.names |= is_file && value.is_object();
        let bits = if exact && values.names { &mut self.naming } else { &mut self.void };
        *bits |= u16::from(kind.narrows) << position;
        if exact {
            note(&mut self.fault, values.verdict(kind));
        }
    }

    fn reach(&self) -> Reach {
        match (self.all, self.naming & !self.void) {
            (true, _) => Reach::Everybody,
            (false, 0) => Reach::Open,
            (false, _) => Reach::Named,
        }
    }
}

/// The values of one kind.
struct Values {
    /// One of them names somebody: what is empty may count as absent.
    names: bool,
    count: usize,
    /// The first one that is too long: its number and its bytes.
    long: Option<(usize, usize)>,
}

impl Values {
    fn of(kind: &AudienceKind, values: Value<'_>) -> Self {
        let mut found = Self { names: is_name(values, values.text().as_deref()), count: 0, long: None };
        // Each value takes a byte at least, and a comma: most lists are too short to hold too many, or a long one.
        let bytes = values.bytes();
        let counts = bytes / 2 >= kind.values_max || (kind.bounded && bytes > VALUE_BYTES_MAX);
        values.any_item(|item| {
            let text = item.text();
            found.names = found.names || is_name(item, text.as_deref());
            found.count += 1;
            let bytes = text.map_or(0, |text| text.len());
            if kind.bounded && bytes > VALUE_BYTES_MAX {
                found.long.get_or_insert((found.count, bytes));
            }
            found.names && !counts
        });
        found
    }

    fn verdict(&self, kind: &AudienceKind) -> Verdict {
        let AudienceKind { name, values_max, .. } = kind;
        if self.count > *values_max {
            let what = format!("audience.{name} has {} values; up to {values_max} pass", self.count);
            return Err(BodyFault::new(Rule::AudienceCount, what));
        }
        self.long.map_or(Ok(()), |(number, bytes)| {
            let what =
                format!("value {number} of audience.{name} has {bytes} bytes; up to {VALUE_BYTES_MAX} pass");
            Err(BodyFault::new(Rule::AudienceValueLength, what))
        })
    }
}

/// Whether one value names somebody: text that is not blank, or a number.
fn is_name(value: Value<'_>, text: Option<&str>) -> bool {
    text.map_or_else(|| value.is_number(), |text| text.chars().any(|letter| !letter.is_whitespace()))
}

fn check_file_audience(audience: Value<'_>) -> Verdict {
    let (mut any_file, mut any_other) = (false, !audience.is_object());
    audience.each_entry(|key, value| {
        if !value.is_null() {
            any_file |= key == FILE;
            any_other |= key != FILE;
        }
    });
    if any_other {
        return Err(BodyFault::new(
            Rule::FileAudience,
            "the audience of a file push takes file and nothing else: {\"file\":{\"file_id\":…}}",
        ));
    }
    if !any_file {
        return Err(BodyFault::new(Rule::FileMissing, "the audience of a file push has no file"));
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
        return Err(BodyFault::new(Rule::FileId, "audience.file is not an object; send {\"file_id\":…}"));
    }
    let (mut found, mut fault) = (false, None);
    file.each_entry(|key, id| {
        if key == "file_id" && !id.is_null() {
            found = true;
            if id.text().is_none_or(|id| id.trim().is_empty()) {
                let what = "audience.file.file_id is empty or no string; send the id an upload answered with";
                note(&mut fault, Err(BodyFault::new(Rule::FileId, what)));
            }
        }
    });
    match fault {
        Some(fault) => Err(fault),
        None if !found => Err(BodyFault::new(Rule::FileIdMissing, "audience.file has no file_id")),
        None => Ok(()),
    }
}
