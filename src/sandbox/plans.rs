//! Handles calls with the flat envelope: quotas of phone makers, templates and push plans.

use serde_json::{Value, json};

use super::answer::{BareAnswer, VendorError, local_date};
use super::audience;
use super::call::AuthenticCall;
use super::json::{member, text};
use super::memory::SandboxMemory;
use super::pushes::message_id;

/// An answer of success, which has code 0 in this envelope.
fn good(data: Option<Value>) -> BareAnswer {
    let mut body = json!({ "code": 0, "message": "success" });
    if let Some(data) = data {
        body["data"] = data;
    }
    BareAnswer::good(&body)
}

/// Shows invented quotas of phone makers (`GET /v3/push/quota`).
pub(super) fn show_quota(_: &AuthenticCall<'_>, _: &mut SandboxMemory) -> BareAnswer {
    let part = json!({ "total": 100, "used": 20 });
    good(Some(json!({
        "xiaomi_quota": { "operation": part },
        "oppo_quota": { "operation": part },
        "vivo_quota": { "system": part, "operation": part },
    })))
}

/// Sends pushes made from a template (`POST /v3/push/template`).
pub(super) fn send_template(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    send(call, memory, |call, memory| Value::from(message_id(memory, &call.account.key)), "message_id")
}

/// Schedules pushes made from a template (`POST /v3/push/template/schedule`).
pub(super) fn schedule_template(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    send(call, memory, |_, _| Value::from(uuid::Uuid::new_v4().to_string()), "schedule_id")
}

fn send(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
    act: fn(&AuthenticCall<'_>, &mut SandboxMemory) -> Value,
    id: &str,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let body = call.object()?;
    if member(body, "id").is_none() {
        return Err(codes.missing("Missing parameter: id"));
    }
    let params = member(body, "params").ok_or_else(|| codes.missing("Missing parameter: params"))?;
    let params = params.as_array().filter(|params| !params.is_empty());
    let params = params.ok_or_else(|| codes.bad("The params are no list or an empty one"))?;
    for param in params {
        let param = param.as_object().ok_or_else(|| codes.bad("A param is not an object"))?;
        if let Some(audience) = member(param, "audience") {
            audience::check_either(call, memory, audience)?;
        }
    }
    let mut list = Vec::new();
    for param in params {
        *memory.delivered.entry(call.account.key.clone()).or_default() += 1;
        let mut entry = json!({ "code": 0, "message": "success", "trace_id": param.get("trace_id") });
        entry[id] = act(call, memory);
        list.push(entry);
    }
    Ok(good(Some(json!({ "push_list": list }))))
}

/// Creates or replaces a push plan (`POST /v3/push_plan/create`, `PUT /v3/push_plan/update`).
pub(super) fn put_plan(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let body = call.object()?;
    let name = text(body, "name").ok_or_else(|| call.codes().missing("Missing parameter: name"))?;
    let plan = json!({
        "name": name,
        "description": member(body, "description"),
        "push_count": 0,
        "create_time": local_date(call.now.wall),
        "send_source": 0,
    });
    memory.plans.insert((call.account.key.clone(), name.to_owned()), plan);
    Ok(good(None))
}

/// Lists push plans, page by page (`GET /v3/push_plan/list`).
pub(super) fn list_plans(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let number = |name: &str, default: usize| {
        call.parameter(name)
            .and_then(|text| text.parse().ok())
            .filter(|&number| number > 0)
            .unwrap_or(default)
    };
    let (page, size) = (number("page", 1), number("page_size", 50));
    let own: Vec<&Value> =
        memory.plans.iter().filter(|((key, _), _)| *key == call.account.key).map(|(_, plan)| plan).collect();
    let detail: Vec<_> = own.iter().skip((page - 1).saturating_mul(size)).take(size).collect();
    good(Some(json!({ "total": own.len(), "page": page, "page_size": size, "detail": detail })))
}
