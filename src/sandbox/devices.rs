//! Handles calls about devices: tags, aliases, phone numbers, and devices of the test mode.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answer::{BareAnswer, VendorError, local_date};
use super::call::AuthenticCall;
use super::json::{member, text};
use super::memory::{Device, SandboxMemory};

/// Upper bound of a device's tags.
const TAGS_MAX: usize = 100;
/// Upper bound of devices with one alias.
const ALIAS_DEVICES_MAX: usize = 10;
/// Upper bound of ids in one body.
const IDS_MAX: usize = 1000;

fn device<'m>(call: &AuthenticCall<'_>, memory: &'m mut SandboxMemory, id: &str) -> Option<&'m mut Device> {
    let key = (call.account.key.clone(), id.to_owned());
    if memory.devices.get(&key).is_none() {
        memory.devices.insert(key.clone(), Device::default());
    }
    memory.devices.get_mut(&key)
}

/// Ids of the account's devices for which `is` holds.
fn ids(call: &AuthenticCall<'_>, memory: &SandboxMemory, is: impl Fn(&Device) -> bool) -> Vec<String> {
    let own = memory.devices.iter().filter(|((key, _), device)| *key == call.account.key && is(device));
    own.map(|((_, id), _)| id.clone()).collect()
}

/// The texts of a list such as `registration_ids.add`; empty if there is no list.
fn texts(call: &AuthenticCall<'_>, from: Option<&Value>, most: usize) -> Result<Vec<String>, VendorError> {
    let bad = || call.codes().bad("A list is no list of texts or too long");
    let Some(list) = from.filter(|list| !list.is_null()) else { return Ok(Vec::new()) };
    let list = list.as_array().filter(|list| list.len() <= most).ok_or_else(bad)?;
    list.iter().map(|entry| entry.as_str().map(str::to_owned).ok_or_else(bad)).collect()
}

/// Shows a device (`GET /v3/devices/{rid}`).
pub(super) fn show(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let known = memory.devices.get(&(call.account.key.clone(), call.segment(2).to_owned()));
    let tags = known.map(|device| &device.tags).filter(|tags| !tags.is_empty());
    let (alias, mobile) =
        known.map_or((None, None), |device| (device.alias.as_ref(), device.mobile.as_ref()));
    BareAnswer::good(&json!({ "tags": tags, "alias": alias, "mobile": mobile }))
}

/// Changes a device's tags, alias and phone number (`POST /v3/devices/{rid}`).
pub(super) fn update(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let body = call.object()?;
    let id = call.segment(2);
    let tags = member(body, "tags");
    let add = texts(call, tags.and_then(|tags| tags.get("add")), TAGS_MAX)?;
    let remove = texts(call, tags.and_then(|tags| tags.get("remove")), TAGS_MAX)?;
    if let Some(alias) = text(body, "alias") {
        let others = ids(call, memory, |device| device.alias.as_deref() == Some(alias));
        if others.len() >= ALIAS_DEVICES_MAX && others.iter().all(|other| other != id) {
            return Err(VendorError::bad(7015, "The alias is bound to 10 devices already"));
        }
    }
    let Some(device) = device(call, memory, id) else { return Ok(BareAnswer::empty()) };
    if tags.is_some_and(|tags| tags == "") {
        device.tags.clear();
    }
    device.tags.retain(|tag| !remove.contains(tag));
    device.tags.extend(add);
    while device.tags.len() > TAGS_MAX {
        device.tags.pop_first();
    }
    for (name, kept) in [("alias", &mut device.alias), ("mobile", &mut device.mobile)] {
        if member(body, name).is_some() {
            *kept = text(body, name).map(str::to_owned);
        }
    }
    Ok(BareAnswer::empty())
}

/// Shows whether devices are online: all are (`POST /v3/devices/status`).
pub(super) fn show_status(
    call: &AuthenticCall<'_>,
    _: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let ids = member(call.object()?, "registration_ids");
    if ids.is_none() {
        return Err(call.codes().missing("Missing parameter: registration_ids"));
    }
    let ids = texts(call, ids, IDS_MAX)?;
    let status = ids.into_iter().map(|id| (id, json!({ "online": true })));
    Ok(BareAnswer::good(&Value::Object(status.collect())))
}

/// Lists the devices of an alias (`GET /v3/aliases/{alias}`).
pub(super) fn show_alias(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let ids = ids(call, memory, |device| device.alias.as_deref() == Some(call.segment(2)));
    BareAnswer::good(&json!({ "registration_ids": ids }))
}

/// Takes an alias from devices (`POST /v3/aliases/{alias}`).
pub(super) fn update_alias(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let ids = member(call.object()?, "registration_ids").and_then(|ids| ids.get("remove"));
    for id in texts(call, ids, IDS_MAX)? {
        let device = memory.devices.get_mut(&(call.account.key.clone(), id));
        if let Some(device) = device.filter(|device| device.alias.as_deref() == Some(call.segment(2))) {
            device.alias = None;
        }
    }
    Ok(BareAnswer::empty())
}

/// Deletes an alias from all devices (`DELETE /v3/aliases/{alias}`).
pub(super) fn delete_alias(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    for id in ids(call, memory, |device| device.alias.as_deref() == Some(call.segment(2))) {
        if let Some(device) = device(call, memory, &id) {
            device.alias = None;
        }
    }
    BareAnswer::empty()
}

/// Lists the tags in use (`GET /v3/tags`).
pub(super) fn list_tags(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let own = memory.devices.iter().filter(|((key, _), _)| *key == call.account.key);
    let tags: BTreeSet<&String> = own.flat_map(|(_, device)| &device.tags).collect();
    BareAnswer::good(&json!({ "tags": tags }))
}

/// Adds a tag to devices and removes it from others (`POST /v3/tags/{tag}`).
pub(super) fn update_tag(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let ids = member(call.object()?, "registration_ids");
    let add = texts(call, ids.and_then(|ids| ids.get("add")), IDS_MAX)?;
    let remove = texts(call, ids.and_then(|ids| ids.get("remove")), IDS_MAX)?;
    for id in remove {
        if let Some(device) = device(call, memory, &id) {
            device.tags.remove(call.segment(2));
        }
    }
    for id in add {
        if let Some(device) = device(call, memory, &id).filter(|device| device.tags.len() < TAGS_MAX) {
            device.tags.insert(call.segment(2).to_owned());
        }
    }
    Ok(BareAnswer::empty())
}

/// Deletes a tag from all devices (`DELETE /v3/tags/{tag}`).
pub(super) fn delete_tag(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    for id in ids(call, memory, |device| device.tags.contains(call.segment(2))) {
        if let Some(device) = device(call, memory, &id) {
            device.tags.remove(call.segment(2));
        }
    }
    BareAnswer::empty()
}

/// Tells whether a device has a tag (`GET /v3/tags/{tag}/registration_ids/{rid}`).
pub(super) fn check_tag(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let known = memory.devices.get(&(call.account.key.clone(), call.segment(4).to_owned()));
    let result = known.is_some_and(|device| device.tags.contains(call.segment(2)));
    BareAnswer::good(&json!({ "result": result }))
}

/// Adds or replaces a test device (`POST /v3/test/model/add`, `PUT /v3/test/model/update`).
pub(super) fn put_test_device(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let body = call.object()?;
    let id = text(body, "registration_id")
        .ok_or_else(|| call.codes().missing("Missing parameter: registration_id"))?;
    let device = json!({
        "device_name": member(body, "device_name"),
        "device_model": "simulated",
        "registration_id": id,
        "create_time": local_date(call.now.wall),
    });
    memory.test_devices.insert((call.account.key.clone(), id.to_owned()), device);
    Ok(BareAnswer::empty())
}

/// Lists test devices (`GET /v3/test/model/list`).
pub(super) fn list_test_devices(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let own = memory.test_devices.iter().filter(|((key, _), _)| *key == call.account.key);
    let detail: Vec<&Value> = own.map(|(_, device)| device).collect();
    BareAnswer::good(&json!({ "total": detail.len(), "page": 1, "page_size": 200, "detail": detail }))
}

/// Deletes a test device (`DELETE /v3/test/model/delete/{rid}`).
pub(super) fn delete_test_device(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    memory.test_devices.remove(&(call.account.key.clone(), call.segment(4).to_owned()));
    BareAnswer::empty()
}
