//! Checks pushes and their audiences as the vendor does.

use serde_json::{Map, Value};

use super::answer::{Codes, VendorError};
use super::call::AuthenticCall;
use super::files;
use super::json::{member, text};
use super::memory::SandboxMemory;

/// The way in which a push names its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushTarget {
    /// Everybody, or by tags, aliases and registration ids.
    Devices,
    /// By a target list.
    File,
}

/// Lists of an audience: name, upper bound of entries, and upper bound of an entry's bytes.
const LISTS: &[(&str, usize, Option<usize>)] = &[
    ("tag", 20, Some(40)),
    ("tag_and", 20, Some(40)),
    ("tag_not", 20, Some(40)),
    ("alias", 1000, Some(40)),
    ("registration_id", 1000, None),
    ("segment", 1, None),
    ("abtest", 1, None),
];

/// Numeric options with their least and greatest value.
const RANGES: &[(&str, i64, i64)] = &[("time_to_live", 0, 864_000), ("big_push_duration", 1, 1400)];

/// Checks what the vendor's documentation fixes, and no more: the vendor extends its schema every few weeks.
pub(super) fn check(
    call: &AuthenticCall<'_>,
    memory: &SandboxMemory,
    push: &Map<String, Value>,
    target: PushTarget,
) -> Result<(), VendorError> {
    let codes = call.codes();
    if call.encrypted {
        // SDKs write different things beside the payload; the audience that counts is inside it.
        return text(push, "payload").map(|_| ()).ok_or_else(|| codes.missing("Missing parameter: payload"));
    }
    check_platform(codes, push)?;
    check_options(codes, push)?;
    let audience = member(push, "audience").ok_or_else(|| codes.missing("Missing parameter: audience"))?;
    match target {
        PushTarget::Devices => check_devices(codes, audience),
        PushTarget::File => check_file(call, memory, audience),
    }
}

/// Checks an audience that may be a target list or anything else.
pub(super) fn check_either(
    call: &AuthenticCall<'_>,
    memory: &SandboxMemory,
    audience: &Value,
) -> Result<(), VendorError> {
    if audience.get("file").is_some_and(|file| !file.is_null()) {
        return check_file(call, memory, audience);
    }
    check_devices(call.codes(), audience)
}

fn check_platform(codes: &Codes, push: &Map<String, Value>) -> Result<(), VendorError> {
    let platform = member(push, "platform").ok_or_else(|| codes.missing("Missing parameter: platform"))?;
    let fits = match platform {
        Value::String(text) => text == "all",
        Value::Array(names) => {
            !names.is_empty() && names.iter().all(|name| name.as_str().is_some_and(|name| !name.is_empty()))
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(codes.bad("The platform is invalid")) }
}

fn check_options(codes: &Codes, push: &Map<String, Value>) -> Result<(), VendorError> {
    let Some(options) = member(push, "options") else { return Ok(()) };
    let options = options.as_object().ok_or_else(|| codes.bad("The options are not an object"))?;
    for &(name, least, most) in RANGES {
        if let Some(number) = member(options, name).and_then(Value::as_i64)
            && !(least..=most).contains(&number)
        {
            return Err(codes.bad(format!("The option {name} is out of range")));
        }
    }
    Ok(())
}

fn check_devices(codes: &Codes, audience: &Value) -> Result<(), VendorError> {
    let lists = match audience {
        Value::String(text) if text == "all" => return Ok(()),
        Value::Object(lists) if !lists.is_empty() => lists,
        _ => return Err(codes.bad("The audience is invalid")),
    };
    if member(lists, "file").is_some() {
        return Err(codes.bad("audience.file is for the file push API only"));
    }
    for &(name, entries_max, bytes_max) in LISTS {
        let Some(list) = member(lists, name) else { continue };
        let list = list.as_array().ok_or_else(|| codes.bad(format!("audience.{name} is not an array")))?;
        if list.is_empty() || list.len() > entries_max {
            return Err(codes.bad(format!("audience.{name} has none or more than {entries_max} values")));
        }
        let fits = |entry: &Value| {
            entry
                .as_str()
                .is_some_and(|entry| !entry.is_empty() && bytes_max.is_none_or(|most| entry.len() <= most))
        };
        if !list.iter().all(fits) {
            return Err(codes.bad(format!("audience.{name} has an invalid value")));
        }
    }
    Ok(())
}

fn check_file(call: &AuthenticCall<'_>, memory: &SandboxMemory, audience: &Value) -> Result<(), VendorError> {
    let codes = call.codes();
    let audience = audience.as_object().ok_or_else(|| codes.bad("The audience is not an object"))?;
    let file = member(audience, "file").ok_or_else(|| codes.missing("Missing parameter: audience.file"))?;
    if audience.iter().any(|(name, value)| name != "file" && !value.is_null()) {
        return Err(codes.bad("The audience of a file push has a file only"));
    }
    let file = file.as_object().ok_or_else(|| codes.bad("audience.file is not an object"))?;
    if member(file, "file_id").is_none() {
        return Err(codes.missing("Missing parameter: audience.file.file_id"));
    }
    let id = text(file, "file_id").ok_or_else(|| codes.bad("The file_id is empty"))?;
    files::check_id(call, memory, id)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, push};

    #[test]
    fn pushes_are_refused_as_documented() {
        let bench = Bench::new();
        let many = vec!["t"; 21];
        let long = "x".repeat(41);
        let rows = [
            (serde_json::json!([]), 1003),
            (serde_json::json!({"audience": "all"}), 1002),
            (serde_json::json!({"platform": null, "audience": "all"}), 1002),
            (serde_json::json!({"platform": "all"}), 1002),
            (serde_json::json!({"platform": "none", "audience": "all"}), 1003),
            (serde_json::json!({"platform": ["android"], "audience": {}}), 1003),
            (serde_json::json!({"platform": "all", "audience": {"tag": many}}), 1003),
            (serde_json::json!({"platform": "all", "audience": {"alias": [long]}}), 1003),
            (serde_json::json!({"platform": "all", "audience": {"alias": [""]}}), 1003),
            (serde_json::json!({"platform": "all", "audience": {"segment": ["a", "b"]}}), 1003),
            (serde_json::json!({"platform": "all", "audience": {"file": {"file_id": "x"}}}), 1003),
            (push(&serde_json::json!({"options": {"time_to_live": 864_001}})), 1003),
            (push(&serde_json::json!({"cid": "nobody-knows"})), 1003),
        ];
        for (body, code) in rows {
            assert_eq!(bench.post("/v3/push", &body).code(), Some(code), "{body}");
        }
        for odd in [
            serde_json::json!({"cid": null, "options": {"classification": 0}, "new": {"in": 2030}}),
            serde_json::json!({"audience": {"tag": ["深圳"], "alias": null}}),
            serde_json::json!({"platform": ["android", "hmos"]}),
        ] {
            assert_eq!(bench.post("/v3/push", &push(&odd)).status, 200, "{odd}");
        }
    }
}
