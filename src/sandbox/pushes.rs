//! Handles pushes that are sent at once, and cids, by which a repeated push is not sent again.

use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::accounts::AccountKind;
use super::answer::{BareAnswer, VendorError};
use super::audience::{self, PushTarget};
use super::call::AuthenticCall;
use super::json::member;
use super::memory::{CidKind, PoolCid, SandboxMemory};
use crate::config::VendorKey;

/// Time for which the vendor remembers a cid.
const CID_LIFE: Duration = Duration::from_hours(24);

/// Upper bound of pushes in one batch.
const BATCH_MAX: usize = 1000;

/// Gives out cids (`GET /v3/push/cid`).
pub(super) fn give_cids(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let kind = match call.parameter("type").as_deref() {
        None | Some("push") => CidKind::Push,
        Some("schedule") => CidKind::Schedule,
        Some(_) => return Err(codes.bad("The type is neither push nor schedule")),
    };
    let count: usize = match call.parameter("count") {
        None => 1,
        Some(count) => count
            .parse()
            .ok()
            .filter(|count| (1..=1000).contains(count))
            .ok_or_else(|| codes.bad("The count is not in 1-1000"))?,
    };
    let cids: Vec<String> = (0..count.min(call.account.tier.cids_max()))
        .map(|_| format!("{}-{}", call.key(), Uuid::new_v4()))
        .collect();
    for cid in &cids {
        let own = (call.account.key.clone(), cid.clone());
        memory.cids.insert(own, PoolCid { kind, given: call.now.instant, first: None });
    }
    Ok(BareAnswer::good(&json!({ "cidlist": cids })))
}

/// Runs `act` once for a cid. A repeated call gets the first answer and has no effect.
pub(super) fn once(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
    (cid, kind): (Option<&Value>, CidKind),
    act: impl FnOnce(&mut SandboxMemory) -> Value,
) -> Result<Value, VendorError> {
    let Some(cid) = cid else { return Ok(act(memory)) };
    let unknown = || call.codes().bad("The cid is invalid");
    let cid = cid.as_str().filter(|cid| !cid.is_empty()).ok_or_else(unknown)?;
    let cid = (call.account.key.clone(), cid.to_owned());
    let usable = memory.cids.get(&cid).is_some_and(|known| is_usable(call, known, kind));
    if !usable && call.account.kind == AccountKind::Group {
        // A group cannot fetch cids, so it may use any.
        memory.cids.insert(cid.clone(), PoolCid { kind, given: call.now.instant, first: None });
    } else if !usable {
        return Err(unknown());
    }
    if let Some(first) = memory.cids.get(&cid).and_then(|known| known.first.clone()) {
        return Ok(first);
    }
    let answer = act(memory);
    if let Some(known) = memory.cids.get_mut(&cid) {
        known.first = Some(answer.clone());
    }
    Ok(answer)
}

fn is_usable(call: &AuthenticCall<'_>, cid: &PoolCid, kind: CidKind) -> bool {
    cid.kind == kind && call.now.instant.saturating_duration_since(cid.given) < CID_LIFE
}

/// Sends a push to devices (`POST /v3/push`).
pub(super) fn send(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> Result<BareAnswer, VendorError> {
    deliver(call, memory, PushTarget::Devices)
}

/// Sends a push to a target list (`POST /v3/push/file`).
pub(super) fn send_to_file(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    deliver(call, memory, PushTarget::File)
}

fn deliver(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
    target: PushTarget,
) -> Result<BareAnswer, VendorError> {
    let push = call.object()?;
    audience::check(call, memory, push, target)?;
    let cid = member(push, "cid");
    once(call, memory, (cid, CidKind::Push), |memory| result(call, memory, push))
        .map(|answer| BareAnswer::good(&answer))
}

/// Counts a push as delivered, and answers with a message id that can be withdrawn.
fn result(call: &AuthenticCall<'_>, memory: &mut SandboxMemory, push: &Map<String, Value>) -> Value {
    *memory.delivered.entry(call.account.key.clone()).or_default() += 1;
    let msg_id = message_id(memory, &call.account.key);
    json!({ "sendno": send_number(push), "msg_id": msg_id })
}

/// A new message id of 18 digits, which the app can withdraw.
pub(super) fn message_id(memory: &mut SandboxMemory, app_key: &VendorKey) -> String {
    let msg_id = format!("{:018}", 181_002_870_085_000_000 + memory.serial());
    memory.messages.insert((app_key.clone(), msg_id.clone()), ());
    msg_id
}

/// The answer's `sendno`: the push's `options.sendno` as text.
fn send_number(push: &Map<String, Value>) -> String {
    match member(push, "options").and_then(|options| options.get("sendno")) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => "0".to_owned(),
    }
}

/// Checks a push without sending it (`POST /v3/push/validate`).
pub(super) fn validate(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let push = call.object()?;
    audience::check(call, memory, push, PushTarget::Devices)?;
    if let Some(cid) = member(push, "cid") {
        let cid = (call.account.key.clone(), cid.as_str().unwrap_or_default().to_owned());
        let known = memory.cids.get(&cid);
        if !known.is_some_and(|known| is_usable(call, known, CidKind::Push)) {
            return Err(call.codes().bad("The cid is invalid"));
        }
    }
    let msg_id = format!("{:018}", 181_002_870_085_000_000 + memory.serial());
    Ok(BareAnswer::good(&json!({ "sendno": send_number(push), "msg_id": msg_id })))
}

/// Withdraws a push (`DELETE /v3/push/{msg_id}`).
pub(super) fn withdraw(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let message = (call.account.key.clone(), call.segment(2).to_owned());
    match memory.messages.get(&message) {
        Some(()) => Ok(BareAnswer::empty()),
        None => Err(VendorError::bad(1003, "msgid doesn't exist")),
    }
}

/// Sends up to 1,000 pushes, each with a cid and an answer of its own (`POST /v3/push/batch/…/single`).
pub(super) fn send_batch(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let list =
        member(call.object()?, "pushlist").ok_or_else(|| codes.missing("Missing parameter: pushlist"))?;
    let list = list.as_object().ok_or_else(|| codes.bad("The pushlist is not an object"))?;
    if list.is_empty() || list.len() > BATCH_MAX {
        return Err(codes.bad("The pushlist has none or more than 1000 pushes"));
    }
    let mut answers = Map::new();
    for (cid, push) in list {
        let answer = send_one(call, memory, cid, push)
            .unwrap_or_else(|error| json!({ "error": { "code": error.code, "message": error.message } }));
        answers.insert(cid.clone(), answer);
    }
    Ok(BareAnswer::good(&Value::Object(answers)))
}

fn send_one(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
    cid: &str,
    push: &Value,
) -> Result<Value, VendorError> {
    let codes = call.codes();
    let push = push.as_object().ok_or_else(|| codes.bad("The push is not an object"))?;
    for name in ["platform", "target"] {
        if member(push, name).is_none() {
            return Err(codes.missing(format!("Missing parameter: {name}")));
        }
    }
    let cid = Value::from(cid);
    once(call, memory, (Some(&cid), CidKind::Push), |memory| {
        *memory.delivered.entry(call.account.key.clone()).or_default() += 1;
        json!({ "msg_id": message_id(memory, &call.account.key) })
    })
}

/// Sends a push to the apps of a group (`POST /v3/grouppush`).
pub(super) fn send_to_group(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    deliver_to_group(call, memory, PushTarget::Devices)
}

/// Sends a push to a target list of a group (`POST /v3/grouppush/file`).
pub(super) fn send_file_to_group(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    deliver_to_group(call, memory, PushTarget::File)
}

fn deliver_to_group(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
    target: PushTarget,
) -> Result<BareAnswer, VendorError> {
    let push = call.object()?;
    audience::check(call, memory, push, target)?;
    let cid = member(push, "cid");
    let act = |memory: &mut SandboxMemory| {
        *memory.delivered.entry(call.account.key.clone()).or_default() += 1;
        let mut answers = Map::new();
        for app_key in &call.account.members {
            let msg_id = message_id(memory, app_key);
            answers.insert(
                app_key.as_str().to_owned(),
                json!({ "msg_id": msg_id, "sendno": send_number(push) }),
            );
        }
        answers.insert("group_msgid".to_owned(), Value::from(format!("cbp0jnu09s68{:08x}", memory.serial())));
        Value::Object(answers)
    };
    once(call, memory, (cid, CidKind::Push), act).map(|answer| BareAnswer::good(&answer))
}
