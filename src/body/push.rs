//! Checks pushes: to an audience, on behalf of a group, to a target list, and many in one body.
//!
//! Values of undocumented types pass where no rule names them: the vendor extends its schema every few weeks.

use super::audience::{self, AllowedAudience, Reach};
use super::cid::is_cid;
use super::json::{self, Value};
use super::rule::note;
use super::spelling::may_be;
use super::{BodyFault, Facts, Rule, Verdict};

/// Variant of the rule for pushes.
#[derive(Clone, Copy)]
pub(super) struct PushKind<'a> {
    pub(super) allowed: AllowedAudience,
    /// The app key whose cids are accepted. `None` if cids are not checked, as in group pushes and in pushes inside
    /// schedules.
    pub(super) cid_of: Option<&'a str>,
}

/// Checks a body that is a push.
pub(super) fn check(kind: PushKind<'_>, body: &[u8], facts: &mut Facts) -> Verdict {
    let mut reading = PushReading::new(kind);
    let parsed = json::object(body, |key, value| reading.take(key, value, facts));
    facts.names_cid = reading.cids > 0;
    facts.has_cid = reading.cids > 0 && reading.cids == reading.cids_good;
    parsed?;
    reading.verdict(AbsentField::Refused)
}

/// Reads the entries beside an encrypted payload. Refuses nothing.
///
/// The vendor's SDKs write the audience there unencrypted. If none can be read, because it is absent or the body is not
/// JSON, the push may reach everybody. Its cid, if it has one, is inside the payload.
pub(super) fn read_encrypted(body: &[u8], facts: &mut Facts) {
    let mut audience = false;
    let parsed = json::object(body, |key, value| audience |= record_audience(key, value, facts));
    facts.encrypted = true;
    if parsed.is_err() || !audience {
        facts.reach = Reach::Everybody;
    }
}

/// Checks a batch, each push of which names one alias or device.
pub(super) fn check_batch(body: &[u8], facts: &mut Facts) -> Verdict {
    facts.reach = Reach::Named;
    json::object(body, |key, value| {
        if may_be(key, "pushlist") {
            value.each_entry(|_, push| {
                record_audiences(push, facts);
            });
        }
    })
}

/// What the key `audience` holds in a push. If it is written twice, a parser keeps either.
#[derive(Default)]
pub(super) struct AudienceKey {
    filled: bool,
    void: bool,
}

impl AudienceKey {
    pub(super) fn see(&mut self, value: Value<'_>) {
        if value.is_null() {
            self.void = true;
        } else {
            self.filled = true;
        }
    }

    /// Whether the push has an audience in every reading.
    pub(super) fn is_certain(&self) -> bool {
        self.filled && !self.void
    }
}

/// Records every audience of a push in which the vendor documents none, or whose key some parser may accept. Returns
/// whether the push has one in every reading.
pub(super) fn record_audiences(push: Value<'_>, facts: &mut Facts) -> bool {
    let mut audience = AudienceKey::default();
    push.each_entry(|key, value| {
        if key == "audience" {
            audience.see(value);
        }
        record_audience(key, value, facts);
    });
    audience.is_certain()
}

/// Records the reach of an entry if some parser may take it for the audience. Returns whether every parser does.
pub(super) fn record_audience(key: &str, value: Value<'_>, facts: &mut Facts) -> bool {
    let is_audience = may_be(key, "audience") && !value.is_null();
    if is_audience {
        audience::record(value, facts);
    }
    is_audience && key == "audience"
}

/// The cid that a push carries, of any form and length; the last one if there are several.
pub fn cid(body: &[u8]) -> Option<Box<str>> {
    let mut cid = None;
    // A syntax error after the cid does not matter here.
    let _ = json::object(body, |key, value| {
        if key == "cid" && !value.is_null() {
            cid = value.text().map(Box::from);
        }
    });
    cid
}

/// Treatment of a field that is absent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AbsentField {
    /// The field is required.
    Refused,
    /// The field keeps its old value, as in an update.
    Kept,
}

/// A push that is read entry by entry.
pub(super) struct PushReading<'k> {
    kind: PushKind<'k>,
    platform: bool,
    audience: AudienceKey,
    cids: u32,
    cids_good: u32,
    fault: Option<BodyFault>,
}

impl<'k> PushReading<'k> {
    pub(super) fn new(kind: PushKind<'k>) -> Self {
        Self { kind, platform: false, audience: AudienceKey::default(), cids: 0, cids_good: 0, fault: None }
    }

    /// Checks one entry of the push.
    pub(super) fn take(&mut self, key: &str, value: Value<'_>, facts: &mut Facts) {
        let verdict = match key {
            "platform" => {
                self.platform |= !value.is_null();
                Ok(())
            }
            "audience" => {
                self.audience.see(value);
                if value.is_null() { Ok(()) } else { audience::check(self.kind.allowed, value, facts) }
            }
            "cid" => self.take_cid(value),
            _ => {
                record_audience(key, value, facts);
                Ok(())
            }
        };
        note(&mut self.fault, verdict);
    }

    /// Whether the push has an audience in every reading.
    pub(super) fn has_audience(&self) -> bool {
        self.audience.is_certain()
    }

    /// The verdict after all entries: the first fault, or a missing field.
    pub(super) fn verdict(self, absent: AbsentField) -> Verdict {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.platform && absent == AbsentField::Refused {
            return Err(BodyFault::new(
                Rule::PlatformMissing,
                "the push has no platform; send \"all\" or a list of platforms",
            ));
        }
        if !self.audience.filled && absent == AbsentField::Refused {
            return Err(BodyFault::new(Rule::AudienceMissing, "the push has no audience"));
        }
        Ok(())
    }

    fn take_cid(&mut self, value: Value<'_>) -> Verdict {
        self.cids += 1;
        if value.is_null() {
            return Ok(());
        }
        let text = value.text().unwrap_or_default();
        let good = self.kind.cid_of.map_or(!text.is_empty(), |app_key| is_cid(&text, app_key));
        self.cids_good += u32::from(good);
        if good || self.kind.cid_of.is_none() {
            return Ok(());
        }
        Err(BodyFault::new(
            Rule::Cid,
            "cid is not one of this application's: {app key}-{uuid}, as GET /v3/push/cid hands them out",
        ))
    }
}
