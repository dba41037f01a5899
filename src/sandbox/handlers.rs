//! Maps each operation to the function that simulates it.

use super::answer::{BareAnswer, VendorError};
use super::call::AuthenticCall;
use super::memory::SandboxMemory;
use super::{devices, files, images, plans, pushes, reports, schedules};

type Handler = fn(&AuthenticCall<'_>, &mut SandboxMemory) -> Result<BareAnswer, VendorError>;

/// Handlers by the operation's name.
const HANDLERS: &[(&str, Handler)] = &[
    ("push", pushes::send),
    ("push-validate", pushes::validate),
    ("push-cid", pushes::give_cids),
    ("push-quota", |call, memory| Ok(plans::show_quota(call, memory))),
    ("push-withdraw", pushes::withdraw),
    ("push-template", plans::send_template),
    ("push-template-schedule", plans::schedule_template),
    ("push-plan-create", plans::put_plan),
    ("push-plan-update", plans::put_plan),
    ("push-plan-list", |call, memory| Ok(plans::list_plans(call, memory))),
    ("push-batch-regid", pushes::send_batch),
    ("push-batch-alias", pushes::send_batch),
    ("push-file", pushes::send_to_file),
    ("group-push", pushes::send_to_group),
    ("group-push-file", pushes::send_file_to_group),
    ("schedule-create", schedules::create),
    ("schedule-list", schedules::list),
    ("schedule-get", schedules::show),
    ("schedule-update", schedules::update),
    ("schedule-delete", schedules::delete),
    ("schedule-msg-ids", schedules::list_message_ids),
    ("file-upload", files::upload),
    ("file-list", |call, memory| Ok(files::list(call, memory))),
    ("file-get", files::show),
    ("file-delete", |call, memory| Ok(files::delete(call, memory))),
    ("image-create-urls", images::create_by_urls),
    ("image-update-urls", images::update_by_urls),
    ("image-create-files", images::create_by_files),
    ("image-update-files", images::update_by_files),
    ("image-v4-oppo", images::upload_to_oppo),
    ("device-get", |call, memory| Ok(devices::show(call, memory))),
    ("device-update", devices::update),
    ("device-status", devices::show_status),
    ("alias-get", |call, memory| Ok(devices::show_alias(call, memory))),
    ("alias-update", devices::update_alias),
    ("alias-delete", |call, memory| Ok(devices::delete_alias(call, memory))),
    ("tag-list", |call, memory| Ok(devices::list_tags(call, memory))),
    ("tag-update", devices::update_tag),
    ("tag-delete", |call, memory| Ok(devices::delete_tag(call, memory))),
    ("tag-check", |call, memory| Ok(devices::check_tag(call, memory))),
    ("test-model-add", devices::put_test_device),
    ("test-model-update", devices::put_test_device),
    ("test-model-list", |call, memory| Ok(devices::list_test_devices(call, memory))),
    ("test-model-delete", |call, memory| Ok(devices::delete_test_device(call, memory))),
    ("report-received", reports::show_received),
    ("report-received-detail", reports::show_received_detail),
    ("report-messages", reports::show_messages),
    ("report-messages-detail", reports::show_messages),
    ("report-users", |call, memory| Ok(reports::show_users(call, memory))),
    ("report-message-status", reports::show_message_status),
    ("report-group-messages", reports::show_group_messages),
    ("report-group-users", |call, memory| Ok(reports::show_users(call, memory))),
];

/// Runs the operation's handler. A row of the table without one is an error of the simulator: 500.
pub(super) fn handle(
    call: &AuthenticCall<'_>,
    memory: &mut SandboxMemory,
) -> Result<BareAnswer, VendorError> {
    let handler = HANDLERS.iter().find(|(name, _)| *name == call.operation.name).map(|(_, handler)| handler);
    match handler {
        Some(handler) => handler(call, memory),
        None => Err(VendorError::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            1000,
            format!("The sandbox does not play {}", call.operation.name),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::HANDLERS;
    use crate::operation::OperationId;

    #[test]
    fn every_operation_is_played_once() {
        for id in OperationId::all() {
            assert_eq!(HANDLERS.iter().filter(|(name, _)| *name == id.name).count(), 1, "{}", id.name);
        }
        assert_eq!(HANDLERS.len(), OperationId::all().count());
    }
}
