//! Handles calls for statistics: the figures are the same for any ids.

use serde_json::{Value, json};

use super::answer::{BareAnswer, VendorError};
use super::call::AuthenticCall;
use super::json::member;
use super::memory::SandboxMemory;

/// The ids of a query, written `1,2` or `1%2C2`; at most `most` of them.
fn ids(call: &AuthenticCall<'_>, name: &str, most: usize) -> Result<Vec<String>, VendorError> {
    let codes = call.codes();
    let list = call.parameter(name).ok_or_else(|| codes.missing(format!("Missing parameter: {name}")))?;
    let ids: Vec<String> =
        list.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    if ids.is_empty() || ids.len() > most {
        return Err(codes.bad(format!("{name} has none or more than {most} ids")));
    }
    Ok(ids)
}

/// An answer with one entry per id.
fn entry_per_id(ids: Vec<String>, id_name: &str, figures: &Value) -> BareAnswer {
    let entry = |id: String| {
        let mut entry = figures.clone();
        entry[id_name] = Value::from(id);
        entry
    };
    BareAnswer::good(&Value::Array(ids.into_iter().map(entry).collect()))
}

/// Shows how many devices received messages (`GET /v3/received`).
pub(super) fn show_received(
    call: &AuthenticCall<'_>,
    _: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let figures = json!({
        "android_received": 62, "ios_apns_sent": 11, "ios_msg_received": null, "wp_mpns_sent": null,
    });
    Ok(entry_per_id(ids(call, "msg_ids", 100)?, "msg_id", &figures))
}

/// Shows the same by channel (`GET /v3/received/detail`).
pub(super) fn show_received_detail(
    call: &AuthenticCall<'_>,
    _: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let figures = json!({
        "jpush_received": 62, "android_pns_sent": 20, "android_pns_received": 18,
        "ios_apns_sent": 11, "ios_apns_received": 10, "ios_msg_received": null, "wp_mpns_sent": null,
    });
    Ok(entry_per_id(ids(call, "msg_ids", 100)?, "msg_id", &figures))
}

/// Shows statistics of messages (`GET /v3/messages`, `GET /v3/messages/detail`).
pub(super) fn show_messages(
    call: &AuthenticCall<'_>,
    _: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let notification = json!({ "target": 62, "sent": 60, "received": 55, "display": 50, "click": 5 });
    Ok(entry_per_id(
        ids(call, "msg_ids", 100)?,
        "msg_id",
        &json!({ "details": { "notification": notification } }),
    ))
}

/// Shows statistics of group messages (`GET /v3/group/messages/detail`).
pub(super) fn show_group_messages(
    call: &AuthenticCall<'_>,
    _: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let jpush = json!({ "target": 62, "sent": 60, "received": 55, "click": 5 });
    Ok(entry_per_id(ids(call, "group_msgids", 10)?, "group_msgid", &json!({ "jpush": jpush })))
}

/// Shows statistics of users (`GET /v3/users`, `GET /v3/group/users`).
pub(super) fn show_users(call: &AuthenticCall<'_>, _: &mut SandboxMemory) -> BareAnswer {
    let unit = call.parameter("time_unit").unwrap_or_else(|| "DAY".to_owned());
    let start = call.parameter("start").unwrap_or_else(|| "2026-01-01".to_owned());
    let duration: u32 = call.parameter("duration").and_then(|text| text.parse().ok()).unwrap_or(1);
    let users = json!({ "new": 1, "online": 5, "active": 3 });
    BareAnswer::good(&json!({
        "time_unit": unit,
        "start": start,
        "duration": duration,
        "items": [{ "time": start, "android": users, "ios": users }],
    }))
}

/// Shows a message's state on devices (`POST /v3/status/message`).
pub(super) fn show_message_status(
    call: &AuthenticCall<'_>,
    _: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let body = call.object()?;
    for name in ["msg_id", "registration_ids"] {
        if member(body, name).is_none() {
            return Err(codes.missing(format!("Missing parameter: {name}")));
        }
    }
    let ids = member(body, "registration_ids").and_then(Value::as_array).filter(|ids| ids.len() <= 1000);
    let ids = ids.ok_or_else(|| codes.bad("registration_ids is no list or too long"))?;
    let status = ids.iter().filter_map(Value::as_str).map(|id| (id.to_owned(), json!({ "status": 0 })));
    Ok(BareAnswer::good(&Value::Object(status.collect())))
}
