//! Handles calls about target lists: upload, list, show, delete.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::accounts::AccountKind;
use super::answer::{BareAnswer, Codes, VendorError, local_date};
use super::call::AuthenticCall;
use super::form::ReceivedPart;
use super::memory::{SandboxMemory, StoredFile};

const FILE_BYTES_MAX: usize = 10 * 1024 * 1024;
const LINE_BYTES_MAX: usize = 40;
const LIVE_MAX: usize = 20;
const HOURS_MAX: u64 = 720;

/// Stores a target list (`POST /v3/files/{type}`).
pub(super) fn upload(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let codes = call.codes();
    let kind = call.segment(2);
    if !matches!(kind, "alias" | "registration_id") {
        return Err(codes.bad("The type is neither alias nor registration_id"));
    }
    call.parts()?;
    let part = call.payload.part("filename").ok_or_else(|| codes.missing("Missing parameter: filename"))?;
    check_list(codes, part)?;
    let ttl = call.payload.part("ttl");
    let hours = match ttl {
        None => HOURS_MAX,
        Some(ttl) => str::from_utf8(&ttl.data)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|hours| (1..=HOURS_MAX).contains(hours))
            .ok_or_else(|| codes.bad("The ttl is not in 1-720"))?,
    };
    let now = call.now.wall;
    if live(call, memory).count() >= LIVE_MAX {
        return Err(VendorError::bad(1112, "There are 20 files already"));
    }
    let id = format!("{}-{}", call.key(), Uuid::new_v4());
    let file = StoredFile {
        kind: kind.to_owned(),
        name: part.file_name.clone().unwrap_or_default(),
        created: now,
        expires: now + Duration::from_hours(hours),
        has_ttl: ttl.is_some(),
    };
    memory.files.insert(id.clone(), file);
    Ok(BareAnswer::good(&json!({ "file_id": id })))
}

fn check_list(codes: &Codes, part: &ReceivedPart) -> Result<(), VendorError> {
    let name = part.file_name.as_deref().unwrap_or_default();
    if !name.to_ascii_lowercase().ends_with(".txt") {
        return Err(codes.bad("The file is not a txt file"));
    }
    if part.data.len() > FILE_BYTES_MAX {
        return Err(codes.bad("The file is larger than 10M"));
    }
    let content = str::from_utf8(&part.data).map_err(|_| codes.bad("The file is not UTF-8"))?;
    let lines = || content.trim_start_matches('\u{feff}').lines().map(str::trim);
    if lines().all(str::is_empty) {
        return Err(codes.bad("The file is empty"));
    }
    if lines().any(|line| line.len() > LINE_BYTES_MAX) {
        return Err(codes.bad("The file has a line of more than 40 bytes"));
    }
    Ok(())
}

/// The account's files that have not expired, oldest first.
fn live<'m>(
    call: &AuthenticCall<'_>,
    memory: &'m SandboxMemory,
) -> impl Iterator<Item = (&'m String, &'m StoredFile)> {
    let (key, now) = (call.key().to_owned(), call.now.wall);
    memory.files.iter().filter(move |(id, file)| owner(id) == Some(&key) && file.expires > now)
}

/// The key that a file id starts with; `None` if it is not `{key}-{uuid}`.
fn owner(id: &str) -> Option<&str> {
    let split = id.len().checked_sub(36)?;
    let (owner, uuid) = (id.get(..split)?.strip_suffix('-')?, id.get(split..)?);
    Uuid::try_parse(uuid).ok()?;
    (!owner.is_empty() && owner.bytes().all(|byte| byte.is_ascii_graphic())).then_some(owner)
}

/// Checks the file id of a push. An id of the account itself must exist; any other well-formed id is accepted, as in
/// the vendor's samples. For a group, ids of dev keys must exist.
pub(super) fn check_id(
    call: &AuthenticCall<'_>,
    memory: &SandboxMemory,
    id: &str,
) -> Result<(), VendorError> {
    let owner = owner(id).ok_or_else(|| call.codes().bad("The file_id is invalid"))?;
    let answers_for = match call.account.kind {
        AccountKind::Group => call
            .accounts
            .iter()
            .any(|account| account.kind == AccountKind::Dev && account.key.as_str() == owner),
        AccountKind::App | AccountKind::Dev => owner == call.key(),
    };
    let is_live = memory.files.get(&id.to_owned()).is_some_and(|file| file.expires > call.now.wall);
    if answers_for && !is_live { Err(absent()) } else { Ok(()) }
}

fn absent() -> VendorError {
    VendorError::new(StatusCode::BAD_REQUEST, 1104, "The file does not exist")
}

fn description(id: &str, file: &StoredFile) -> Value {
    let mut description = json!({
        "file_id": id,
        "type": file.kind,
        "create_time": local_date(file.created),
        "file_name": file.name,
    });
    if file.has_ttl {
        description["expire_time"] = local_date(file.expires).into();
    }
    description
}

/// Lists target lists (`GET /v3/files`).
pub(super) fn list(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let files: Vec<Value> = live(call, memory).map(|(id, file)| description(id, file)).collect();
    BareAnswer::good(&json!({ "total_count": files.len(), "files": files }))
}

/// Shows a target list (`GET /v3/files/{file_id}`).
pub(super) fn show(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> Result<BareAnswer, VendorError> {
    let id = call.segment(2);
    let (id, file) = live(call, memory).find(|(known, _)| *known == id).ok_or_else(absent)?;
    Ok(BareAnswer::good(&description(id, file)))
}

/// Deletes a target list (`DELETE /v3/files/{file_id}`). An unknown one counts as deleted.
pub(super) fn delete(call: &AuthenticCall<'_>, memory: &mut SandboxMemory) -> BareAnswer {
    let id = call.segment(2);
    if owner(id) == Some(call.key()) {
        memory.files.remove(&id.to_owned());
    }
    BareAnswer::empty()
}
