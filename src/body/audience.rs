//! Checks audiences: refuses what the vendor certainly refuses, and determines how many devices a push may reach.
//!
//! Limits are those of the vendor (`docs/vendor.md`, V31). The vendor intersects the kinds of one audience, so one kind
//! that names somebody is enough to narrow it; `tag_not` names nobody. Reach decides rights and fails closed: an
//! unknown kind narrows nothing, and a spelling that any parser might accept counts.

use super::json::Value;
use super::rule::note;
use super::spelling::{is_blank, may_be};
use super::{BodyFault, Facts, Rule, Verdict};

/// Upper bound of a tag or an alias, in bytes of UTF-8.
const VALUE_BYTES_MAX: usize = 40;

/// Devices that a push may reach, in the widest reading of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The body has no audience.
    #[default]
    Nobody,
    /// Named recipients only: tags, aliases, devices, a segment, a target list.
    Named,
    /// Nothing in the audience is known to narrow it: `tag_not` alone, an empty audience, or only a kind that is
    /// unknown.
    Open,
    /// Every device: `"all"`, or the audience cannot be read.
    Everybody,
}

/// Kinds of audience that a push may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedAudience {
    /// Every kind but a target list.
    Devices,
    /// A target list only.
    File,
    /// A target list only, or every other kind.
    DevicesOrFile,
}

/// Checks an audience, and records its reach.
pub(super) fn check(allowed: AllowedAudience, audience: Value<'_>, facts: &mut Facts) -> Verdict {
    let found = AudienceTraits::of(audience);
    facts.reach = facts.reach.max(found.reach());
    facts.audience_file |= found.file && allowed != AllowedAudience::File;
    match allowed {
        AllowedAudience::File => check_file_audience(audience),
        AllowedAudience::DevicesOrFile if found.has_file => check_file_audience(audience),
        AllowedAudience::Devices if found.has_file => Err(BodyFault::new(
            Rule::AudienceFile,
            "audience.file passes on file pushes only: send this body to the file push of the same API",
        )),
        AllowedAudience::Devices | AllowedAudience::DevicesOrFile => found.fault.map_or(Ok(()), Err),
    }
}

/// Records the reach of an audience that is not checked.
pub(super) fn record(audience: Value<'_>, facts: &mut Facts) {
    let found = AudienceTraits::of(audience);
    facts.reach = facts.reach.max(found.reach());
    facts.audience_file |= found.file;
}

/// One kind of audience and its limits.
struct AudienceKind {
    name: &'static str,
    values_max: usize,
    /// Each value may have at most [`VALUE_BYTES_MAX`] bytes.
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
    // Not a list of values, so no limit of values applies.
    list("live_activity_id", usize::MAX),
    list(FILE, usize::MAX),
];

const FILE: &str = "file";

/// Content of an audience, collected entry by entry.
#[derive(Default)]
struct AudienceTraits {
    all: bool,
    /// A target list, or a key that some parser may take for one.
    file: bool,
    /// The key `file`, spelled exactly so.
    has_file: bool,
    /// Kinds that name somebody, one bit for each by its position in [`KINDS`].
    naming: u16,
    /// Kinds that also have an entry that names nobody. If a key occurs twice, that entry may be the one that counts.
    void: u16,
    fault: Option<BodyFault>,
}

impl AudienceTraits {
    fn of(audience: Value<'_>) -> Self {
        // Only here blanks around a value are ignored: a broadcast must not escape the check by a spelling that the vendor
        // may accept.
        let all = audience.text().is_some_and(|text| may_be(text.trim_matches(is_blank), "all"));
        let mut found = Self { all, ..Self::default() };
        audience.each_entry(|key, value| found.take(key, value));
        found
    }

    fn take(&mut self, key: &str, value: Value<'_>) {
        let is_set = !value.is_null() && !value.is_false();
        // The Java SDK writes {"all":true,"file":false} beside an encrypted payload (`docs/vendor.md`, V35).
        self.all |= is_set && may_be(key, "all");
        let exact = KINDS.iter().position(|kind| kind.name == key);
        let position = exact.or_else(|| KINDS.iter().position(|kind| may_be(key, kind.name)));
        let Some(position) = position else { return };
        let kind = &KINDS[position];
        let (is_file, exact) = (kind.name == FILE, exact.is_some());
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

/// Values of one kind.
struct Values {
    /// One of them names somebody. An empty value does not, as the vendor may treat it as absent.
    names: bool,
    count: usize,
    /// Number, counted from 1, and bytes of the first value that is too long.
    long: Option<(usize, usize)>,
}

impl Values {
    fn of(kind: &AudienceKind, values: Value<'_>) -> Self {
        let mut found = Self { names: is_name(values, values.text().as_deref()), count: 0, long: None };
        // Each value has at least a byte and a comma, so most texts are too short for too many values or for a long one.
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

/// Whether a value names somebody: a text that is not blank, or a number.
fn is_name(value: Value<'_>, text: Option<&str>) -> bool {
    text.map_or_else(|| value.is_number(), |text| !text.chars().all(is_blank))
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
