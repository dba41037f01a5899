//! Pushes: to an audience, on behalf of a group, to the devices of a target list, and many in one body.
//!
//! Values of other kinds than the documented ones pass where no rule names them: the schema grows every few weeks.

use super::audience::{self, Reach, Takes};
use super::cid::is_cid;
use super::json::{self, Value};
use super::{BodyFault, Facts, Rule, Verdict};

/// Which rule a push is judged by.
#[derive(Clone, Copy)]
pub(super) struct PushKind<'a> {
    pub(super) takes: Takes,
    /// The application whose cids it takes. `None`: its cid is not checked, as those of groups and of pushes inside
    /// schedules.
    pub(super) cid_of: Option<&'a str>,
}

/// Judges a body that is a push.
pub(super) fn check(kind: PushKind<'_>, body: &[u8], facts: &mut Facts) -> Verdict {
    let mut reading = PushReading::new(kind);
    let parsed = json::object(body, |key, value| reading.take(key, value, facts));
    facts.names_cid = reading.cids > 0;
    facts.has_cid = reading.cids > 0 && reading.cids == reading.cids_good;
    parsed?;
    reading.verdict(Absent::Refused)
}

/// Reads what stands beside an encrypted payload, and refuses nothing.
///
/// The vendor's SDKs write the audience there in the clear. Without one that can be read, whether for want of it or
/// because the body is no JSON to us, the push may be for everybody. Its cid, if any, is inside the payload.
pub(super) fn read_encrypted(body: &[u8], facts: &mut Facts) {
    let mut audience = false;
    let parsed = json::object(body, |key, value| audience |= tell_audience(key, value, facts));
    facts.encrypted = true;
    if parsed.is_err() || !audience {
        facts.reach = Reach::Everybody;
    }
}

/// Judges a batch, each push of which names one alias or device.
pub(super) fn check_batch(body: &[u8], facts: &mut Facts) -> Verdict {
    facts.reach = Reach::Named;
    json::object(body, |key, value| {
        if key.eq_ignore_ascii_case("pushlist") {
            value.each_entry(|_, push| tell_audiences(push, facts));
        }
    })
}

/// Tells whom a push reaches whose audience is not documented to be read, or stands where some parser finds it.
pub(super) fn tell_audiences(push: Value<'_>, facts: &mut Facts) {
    push.each_entry(|key, value| {
        tell_audience(key, value, facts);
    });
}

/// Tells whom an entry reaches, if some parser takes it for the audience; whether it does.
pub(super) fn tell_audience(key: &str, value: Value<'_>, facts: &mut Facts) -> bool {
    let is_audience = key.eq_ignore_ascii_case("audience") && !value.is_null();
    if is_audience {
        audience::tell(value, facts);
    }
    is_audience
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
pub(super) struct PushReading<'k> {
    kind: PushKind<'k>,
    platform: bool,
    audience: bool,
    cids: u32,
    cids_good: u32,
    fault: Option<BodyFault>,
}

impl<'k> PushReading<'k> {
    pub(super) fn new(kind: PushKind<'k>) -> Self {
        Self { kind, platform: false, audience: false, cids: 0, cids_good: 0, fault: None }
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
                audience::check(self.kind.takes, value, facts)
            }
            "cid" => self.take_cid(value),
            _ => {
                tell_audience(key, value, facts);
                Ok(())
            }
        };
        note(&mut self.fault, verdict);
    }

    /// The first thing that was wrong.
    pub(super) fn verdict(self, absent: Absent) -> Verdict {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.platform && absent == Absent::Refused {
            return Err(BodyFault::new(
                Rule::PlatformMissing,
                "the push has no platform; send \"all\" or a list of platforms",
            ));
        }
        if !self.audience && absent == Absent::Refused {
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

/// Keeps the first fault.
pub(super) fn note(fault: &mut Option<BodyFault>, verdict: Verdict) {
    if let Err(found) = verdict {
        fault.get_or_insert(found);
    }
}
