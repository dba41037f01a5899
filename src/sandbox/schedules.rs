//! Handles schedules. They are stored and never carried out.

use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::{BareAnswer, Codes, VendorError};
use super::audience::{self, PushTarget};
use super::call::AuthenticCall;
use super::json::{member, text};
use super::memory::{CidKind, SandboxMemory, StoredSchedule};
use super::pushes::once;
use crate::config::VendorKey;

const NAME_BYTES_MAX: usize = 255;
const PAGE: usize = 50;

/// Creates a schedule (`POST /v3/schedules`).
pub(super) fn create(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let body = call.object()?;
    for name in ["name", "trigger", "push"] {
        if member(body, name).is_none() {
            return Err(codes.missing(format!("Missing parameter: {name}")));
        }
    }
    check(call, memory, body)?;
    if own(call, memory).count() >= call.account.tier.schedules_max() {
        return Err(VendorError::bad(8100, "There are too many schedules"));
    }
    let field = |name: &str| member(body, name).cloned();
    let schedule = StoredSchedule {
        name: field("name").unwrap_or_default(),
        enabled: field("enabled").unwrap_or(Value::Bool(true)),
        trigger: field("trigger").unwrap_or_default(),
        push: field("push").unwrap_or_default(),
    };
    let answer = once(call, memory, (member(body, "cid"), CidKind::Schedule), |memory| {
        let id = Uuid::new_v4().to_string();
        let answer = json!({ "schedule_id": id, "name": schedule.name });
        memory.schedules.insert((call.account.key.clone(), id), schedule);
        answer
    })?;
    Ok(BareAnswer::good(&answer))
}

/// Changes the given fields of a schedule (`PUT /v3/schedules/{id}`).
pub(super) fn update(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let id = known(call, memory)?;
    let body = call.object()?;
    check(call, memory, body)?;
    let schedule = memory.schedules.get_mut(&id).ok_or_else(unknown)?;
    if let Some(trigger) = member(body, "trigger")
        && kind(trigger) != kind(&schedule.trigger)
    {
        return Err(call.codes().bad("single and periodical triggers cannot be exchanged"));
    }
    let fields = [
        ("name", &mut schedule.name),
        ("enabled", &mut schedule.enabled),
        ("trigger", &mut schedule.trigger),
        ("push", &mut schedule.push),
    ];
    for (name, kept) in fields {
        if let Some(value) = member(body, name) {
            kept.clone_from(value);
        }
    }
    Ok(BareAnswer::good(&description(&id.1, schedule)))
}

fn kind(trigger: &Value) -> Option<&str> {
    ["single", "periodical"].into_iter().find(|kind| trigger.get(kind).is_some_and(|value| !value.is_null()))
}

/// Checks the fields that are present.
fn check(
    call: &AuthenticCall<'_>,
    memory: &SandboxMemory,
    body: &Map<String, Value>,
) -> Result<(), VendorError> {
    let codes = call.codes();
    if member(body, "name").is_some() && text(body, "name").is_none_or(|name| name.len() > NAME_BYTES_MAX) {
        return Err(codes.bad("The name is no text, empty or too long"));
    }
    if let Some(trigger) = member(body, "trigger") {
        check_trigger(codes, trigger)?;
    }
    let Some(push) = member(body, "push") else { return Ok(()) };
    let push = push.as_object().ok_or_else(|| codes.bad("The push is not an object"))?;
    let has_file = member(push, "audience").and_then(|audience| audience.get("file"));
    let target =
        if has_file.is_some_and(|file| !file.is_null()) { PushTarget::File } else { PushTarget::Devices };
    audience::check(call, memory, push, target)
}

fn check_trigger(codes: &Codes, trigger: &Value) -> Result<(), VendorError> {
    let bad = || codes.bad("The trigger is invalid");
    let trigger = trigger.as_object().ok_or_else(bad)?;
    let fields: &[(&str, &str)] = match (member(trigger, "single"), member(trigger, "periodical")) {
        (Some(_), None) => &[("time", "0000-00-00 00:00:00")],
        (None, Some(_)) => {
            &[("start", "0000-00-00 00:00:00"), ("end", "0000-00-00 00:00:00"), ("time", "00:00:00")]
        }
        _ => return Err(bad()),
    };
    let inner = member(trigger, "single").or_else(|| member(trigger, "periodical"));
    let inner = inner.and_then(Value::as_object).ok_or_else(bad)?;
    let fits = fields.iter().all(|(name, form)| text(inner, name).is_some_and(|time| has_form(time, form)));
    if fits { Ok(()) } else { Err(bad()) }
}

/// Whether a time has digits where the form has zeros, and the form's other characters elsewhere.
fn has_form(time: &str, form: &str) -> bool {
    time.len() == form.len()
        && time
            .bytes()
            .zip(form.bytes())
            .all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { byte == like })
}

fn own<'m>(
    call: &AuthenticCall<'_>,
    memory: &'m SandboxMemory,
) -> impl Iterator<Item = (&'m str, &'m StoredSchedule)> {
    let key = call.account.key.clone();
    memory
        .schedules
        .iter()
        .filter(move |((owner, _), _)| *owner == key)
        .map(|((_, id), schedule)| (id.as_str(), schedule))
}

fn known(call: &AuthenticCall<'_>, memory: &SandboxMemory) -> Result<(VendorKey, String), VendorError> {
    let id = (call.account.key.clone(), call.segment(2).to_owned());
    memory.schedules.get(&id).map(|_| id).ok_or_else(unknown)
}

fn unknown() -> VendorError {
    VendorError::new(StatusCode::NOT_FOUND, 8104, "The schedule does not exist")
}

fn description(id: &str, schedule: &StoredSchedule) -> Value {
    json!({
        "schedule_id": id,
        "name": schedule.name,
        "enabled": schedule.enabled,
        "trigger": schedule.trigger,
        "push": schedule.push,
    })
}

/// Lists schedules, page by page (`GET /v3/schedules`).
pub(super) fn list(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> Result<BareAnswer, VendorError> {
    let page = match call.parameter("page") {
        None => 1,
        Some(page) => page
            .parse::<usize>()
            .ok()
            .filter(|&page| page > 0)
            .ok_or_else(|| call.codes().bad("The page is invalid"))?,
    };
    let all: Vec<_> = own(call, memory).collect();
    let schedules: Vec<Value> = all
        .iter()
        .skip((page - 1).saturating_mul(PAGE))
        .take(PAGE)
        .map(|(id, schedule)| description(id, schedule))
        .collect();
    Ok(BareAnswer::good(&json!({
        "total_count": all.len(),
        "total_pages": all.len().div_ceil(PAGE),
        "page": page,
        "schedules": schedules,
    })))
}

/// Shows a schedule (`GET /v3/schedules/{id}`).
pub(super) fn show(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> Result<BareAnswer, VendorError> {
    let id = known(call, memory)?;
    let schedule = memory.schedules.get(&id).ok_or_else(unknown)?;
    Ok(BareAnswer::good(&description(&id.1, schedule)))
}

/// Deletes a schedule (`DELETE /v3/schedules/{id}`).
pub(super) fn delete(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let id = known(call, memory)?;
    memory.schedules.remove(&id);
    Ok(BareAnswer::empty())
}

/// Lists the messages that a schedule has sent: always none (`GET /v3/schedules/{id}/msg_ids`).
pub(super) fn list_message_ids(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    known(call, memory)?;
    Ok(BareAnswer::good(&json!({ "count": 0, "msgids": [] })))
}
