//! Checks schedules: a push and the times at which it is sent. Source: `docs/vendor.md`, V37.

use crate::operation::Verb;

use super::audience::{AllowedAudience, Reach};
use super::json::{self, Value};
use super::push::{AbsentField, PushKind, PushReading, record_audiences};
use super::rule::note;
use super::spelling::may_be;
use super::{BodyFault, Facts, Rule, Verdict};

/// Upper bound of a schedule's name, in bytes of UTF-8.
const NAME_BYTES_MAX: usize = 255;

/// Forms of times; `9` stands for a digit. Whether the day exists is left to the vendor.
const DATE_TIME: &[u8] = b"9999-99-99 99:99:99";
const TIME: &[u8] = b"99:99:99";

/// Checks a schedule. In an update, only what it contains is checked.
pub(super) fn check(method: Verb, body: &[u8], facts: &mut Facts) -> Verdict {
    let absent = if method == Verb::Put { AbsentField::Kept } else { AbsentField::Refused };
    let mut schedule = ScheduleBody { absent, name: false, trigger: false, push: false, fault: None };
    json::object(body, |key, value| schedule.take(key, value, facts))?;
    schedule.verdict()
}

/// A schedule that is read entry by entry.
struct ScheduleBody {
    absent: AbsentField,
    name: bool,
    trigger: bool,
    push: bool,
    fault: Option<BodyFault>,
}

impl ScheduleBody {
    fn take(&mut self, key: &str, value: Value<'_>, facts: &mut Facts) {
        if value.is_null() {
            return;
        }
        let verdict = match key {
            "name" => {
                self.name = true;
                check_name(value)
            }
            "trigger" => {
                self.trigger = true;
                check_trigger(self.absent, value)
            }
            "push" => {
                self.push = true;
                check_push(self.absent, value, facts)
            }
            _ if may_be(key, "push") => {
                let has_audience = record_audiences(value, facts);
                record_kept(self.absent, has_audience, facts);
                Ok(())
            }
            _ => Ok(()),
        };
        note(&mut self.fault, verdict);
    }

    fn verdict(self) -> Verdict {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let required = [
            (self.name, Rule::ScheduleNameMissing, "the schedule has no name"),
            (self.trigger, Rule::ScheduleTriggerMissing, "the schedule has no trigger"),
            (self.push, Rule::SchedulePushMissing, "the schedule has no push"),
        ];
        match required.into_iter().find(|(present, ..)| !present) {
            Some((_, rule, what)) if self.absent == AbsentField::Refused => Err(BodyFault::new(rule, what)),
            _ => Ok(()),
        }
    }
}

fn check_push(absent: AbsentField, push: Value<'_>, facts: &mut Facts) -> Verdict {
    if !push.is_object() {
        return Err(BodyFault::new(Rule::SchedulePush, "the schedule's push is not an object"));
    }
    let mut reading = PushReading::new(PushKind { allowed: AllowedAudience::DevicesOrFile, cid_of: None });
    push.each_entry(|key, value| reading.take(key, value, facts));
    record_kept(absent, reading.has_audience(), facts);
    reading.verdict(absent)
}

/// Records that an update of a push may keep the audience that it had, which is not known here.
fn record_kept(absent: AbsentField, has_audience: bool, facts: &mut Facts) {
    if absent == AbsentField::Kept && !has_audience {
        facts.reach = facts.reach.max(Reach::Open);
    }
}

fn check_name(name: Value<'_>) -> Verdict {
    let bytes = name.text().map_or(0, |name| name.len());
    if bytes <= NAME_BYTES_MAX {
        return Ok(());
    }
    let what = format!("the schedule's name has {bytes} bytes; up to {NAME_BYTES_MAX} pass");
    Err(BodyFault::new(Rule::ScheduleName, what))
}

fn check_trigger(absent: AbsentField, trigger: Value<'_>) -> Verdict {
    let (mut single, mut periodical, mut fault) = (false, false, None);
    trigger.each_entry(|key, value| match key {
        _ if value.is_null() => {}
        "single" => {
            single = true;
            note(&mut fault, check_times(absent, key, value, &[("time", DATE_TIME)]));
        }
        "periodical" => {
            periodical = true;
            let times = [("start", DATE_TIME), ("end", DATE_TIME), ("time", TIME)];
            note(&mut fault, check_times(absent, key, value, &times));
        }
        _ => {}
    });
    if single == periodical {
        return Err(BodyFault::new(
            Rule::ScheduleTrigger,
            "the trigger is not exactly one of single and periodical; send one of them",
        ));
    }
    fault.map_or(Ok(()), Err)
}

/// Checks the times of one kind of trigger: each `(name, form)` must be there and have its form.
fn check_times(absent: AbsentField, kind: &str, trigger: Value<'_>, times: &[(&str, &[u8])]) -> Verdict {
    for &(name, form) in times {
        let (mut found, mut good) = (false, true);
        trigger.each_entry(|key, value| {
            if key == name && !value.is_null() {
                found = true;
                good &= value.text().is_some_and(|time| has_form(time.as_bytes(), form));
            }
        });
        let kept = !found && absent == AbsentField::Kept && trigger.is_object();
        if !(kept || found && good) {
            let shape = if form == TIME { "HH:MM:SS" } else { "YYYY-MM-DD HH:MM:SS" };
            let what = format!("trigger.{kind}.{name} is not of the form {shape}");
            return Err(BodyFault::new(Rule::ScheduleTime, what));
        }
    }
    Ok(())
}

fn has_form(time: &[u8], form: &[u8]) -> bool {
    let fits =
        |(&byte, &shape): (&u8, &u8)| if shape == b'9' { byte.is_ascii_digit() } else { byte == shape };
    time.len() == form.len() && time.iter().zip(form).all(fits)
}
