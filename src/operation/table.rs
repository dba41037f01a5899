//! The operation table: an allow-list with one row for every vendor call. Anything else is refused.
//!
//! Hosts, credentials and budgets are those that the vendor documents for each API (`docs/vendor.md`, V1, V2, V7, V11
//! and V13). Where it does not name a budget, the push budget is assumed, which can only make the gateway send less
//! (`docs/vendor.md`, V15). A push plan is a name and a description: it delivers nothing (`docs/vendor.md`, V8).

use super::{Audience, BodyRule, BudgetName, CredentialRule, Envelope, Host, Operation, Scope, Verb};

use Audience::{Body, Nobody, Params, Push, Targets};
use BodyRule as B;
use CredentialRule::{App, AppOrDev, Group};
use Envelope::{Both, Flat, Nested};
use Host::{Api, Device, ImageV4, Report};
use Verb::{Delete, Get, Post, Put};

/// Every vendor call that the gateway forwards.
#[rustfmt::skip]
pub static OPERATIONS: &[Operation] = &[
    row("push",                    Post,   "/v3/push",                          (Api, App),       (Scope::Push, BudgetName::Push),         (B::Push, Body),           Nested),
    row("push-validate",           Post,   "/v3/push/validate",                 (Api, App),       (Scope::Push, BudgetName::Push),         (B::Push, Nobody),         Nested),
    row("push-cid",                Get,    "/v3/push/cid",                      (Api, App),       (Scope::Push, BudgetName::Push),         (B::CidQuery, Nobody),     Nested),
    row("push-quota",              Get,    "/v3/push/quota",                    (Api, App),       (Scope::Push, BudgetName::Push),         (B::None, Nobody),         Both),
    row("push-withdraw",           Delete, "/v3/push/{msg_id}",                 (Api, App),       (Scope::Push, BudgetName::Push),         (B::None, Nobody),         Nested),
    row("push-template",           Post,   "/v3/push/template",                 (Api, App),       (Scope::Push, BudgetName::Push),         (B::TemplatePush, Params), Flat),
    row("push-template-schedule",  Post,   "/v3/push/template/schedule",        (Api, App),       (Scope::Push, BudgetName::Push),         (B::TemplatePush, Params), Flat),
    row("push-plan-create",        Post,   "/v3/push_plan/create",              (Api, App),       (Scope::Push, BudgetName::Push),         (B::Json, Nobody),         Both),
    row("push-plan-update",        Put,    "/v3/push_plan/update",              (Api, App),       (Scope::Push, BudgetName::Push),         (B::Json, Nobody),         Both),
    row("push-plan-list",          Get,    "/v3/push_plan/list",                (Api, App),       (Scope::Push, BudgetName::Push),         (B::None, Nobody),         Both),
    row("push-batch-regid",        Post,   "/v3/push/batch/regid/single",       (Api, App),       (Scope::Push, BudgetName::Push),         (B::Batch, Targets),       Nested),
    row("push-batch-alias",        Post,   "/v3/push/batch/alias/single",       (Api, App),       (Scope::Push, BudgetName::Push),         (B::Batch, Targets),       Nested),
    row("push-file",               Post,   "/v3/push/file",                     (Api, App),       (Scope::File, BudgetName::File),         (B::FilePush, Body),       Nested),
    row("group-push",              Post,   "/v3/grouppush",                     (Api, Group),     (Scope::Group, BudgetName::Push),        (B::GroupPush, Body),      Nested),
    row("group-push-file",         Post,   "/v3/grouppush/file",                (Api, Group),     (Scope::Group, BudgetName::File),        (B::GroupFilePush, Body),  Nested),
    row("schedule-create",         Post,   "/v3/schedules",                     (Api, App),       (Scope::Schedule, BudgetName::Schedule), (B::Schedule, Push),       Nested),
    row("schedule-list",           Get,    "/v3/schedules",                     (Api, App),       (Scope::Schedule, BudgetName::Schedule), (B::None, Nobody),         Nested),
    row("schedule-get",            Get,    "/v3/schedules/{id}",                (Api, App),       (Scope::Schedule, BudgetName::Schedule), (B::None, Nobody),         Nested),
    row("schedule-update",         Put,    "/v3/schedules/{id}",                (Api, App),       (Scope::Schedule, BudgetName::Schedule), (B::Schedule, Push),       Nested),
    row("schedule-delete",         Delete, "/v3/schedules/{id}",                (Api, App),       (Scope::Schedule, BudgetName::Schedule), (B::None, Nobody),         Nested),
    row("schedule-msg-ids",        Get,    "/v3/schedules/{id}/msg_ids",        (Api, App),       (Scope::Schedule, BudgetName::Schedule), (B::None, Nobody),         Nested),
    row("file-upload",             Post,   "/v3/files/{type}",                  (Api, AppOrDev),  (Scope::File, BudgetName::File),         (B::TargetList, Nobody),   Nested),
    row("file-list",               Get,    "/v3/files",                         (Api, AppOrDev),  (Scope::File, BudgetName::File),         (B::None, Nobody),         Nested),
    row("file-get",                Get,    "/v3/files/{file_id}",               (Api, AppOrDev),  (Scope::File, BudgetName::File),         (B::None, Nobody),         Nested),
    row("file-delete",             Delete, "/v3/files/{file_id}",               (Api, AppOrDev),  (Scope::File, BudgetName::File),         (B::None, Nobody),         Nested),
    row("image-create-urls",       Post,   "/v3/images/byurls",                 (Api, App),       (Scope::Image, BudgetName::Push),        (B::ImageUrls, Nobody),    Nested),
    row("image-update-urls",       Put,    "/v3/images/byurls/{media_id}",      (Api, App),       (Scope::Image, BudgetName::Push),        (B::ImageUrls, Nobody),    Nested),
    row("image-create-files",      Post,   "/v3/images/byfiles",                (Api, App),       (Scope::Image, BudgetName::Push),        (B::ImageFiles, Nobody),   Nested),
    row("image-update-files",      Put,    "/v3/images/byfiles/{media_id}",     (Api, App),       (Scope::Image, BudgetName::Push),        (B::ImageFiles, Nobody),   Nested),
    row("image-v4-oppo",           Post,   "/v4/image/oppo",                    (ImageV4, App),   (Scope::Image, BudgetName::Push),        (B::ImageUrlsV4, Nobody),  Nested),
    row("device-get",              Get,    "/v3/devices/{rid}",                 (Device, App),    (Scope::Device, BudgetName::Device),     (B::None, Nobody),         Nested),
    row("device-update",           Post,   "/v3/devices/{rid}",                 (Device, App),    (Scope::Device, BudgetName::Device),     (B::Json, Nobody),         Nested),
    row("device-status",           Post,   "/v3/devices/status",                (Device, App),    (Scope::Device, BudgetName::Device),     (B::Json, Nobody),         Nested),
    row("alias-get",               Get,    "/v3/aliases/{alias}",               (Device, App),    (Scope::Device, BudgetName::Device),     (B::None, Nobody),         Nested),
    row("alias-update",            Post,   "/v3/aliases/{alias}",               (Device, App),    (Scope::Device, BudgetName::Device),     (B::Json, Nobody),         Nested),
    row("alias-delete",            Delete, "/v3/aliases/{alias}",               (Device, App),    (Scope::Device, BudgetName::Device),     (B::None, Nobody),         Nested),
    row("tag-list",                Get,    "/v3/tags",                          (Device, App),    (Scope::Device, BudgetName::Device),     (B::None, Nobody),         Nested),
    row("tag-update",              Post,   "/v3/tags/{tag}",                    (Device, App),    (Scope::Device, BudgetName::Device),     (B::Json, Nobody),         Nested),
    row("tag-delete",              Delete, "/v3/tags/{tag}",                    (Device, App),    (Scope::Device, BudgetName::Device),     (B::None, Nobody),         Nested),
    row("tag-check",               Get,    "/v3/tags/{tag}/registration_ids/{rid}", (Device, App), (Scope::Device, BudgetName::Device),    (B::None, Nobody),         Nested),
    row("test-model-add",          Post,   "/v3/test/model/add",                (Device, App),    (Scope::Device, BudgetName::Device),     (B::Json, Nobody),         Nested),
    row("test-model-update",       Put,    "/v3/test/model/update",             (Device, App),    (Scope::Device, BudgetName::Device),     (B::Json, Nobody),         Nested),
    row("test-model-list",         Get,    "/v3/test/model/list",               (Device, App),    (Scope::Device, BudgetName::Device),     (B::None, Nobody),         Nested),
    row("test-model-delete",       Delete, "/v3/test/model/delete/{rid}",       (Device, App),    (Scope::Device, BudgetName::Device),     (B::None, Nobody),         Nested),
    row("report-received",         Get,    "/v3/received",                      (Report, App),    (Scope::Report, BudgetName::Report),     (B::None, Nobody),         Nested),
    row("report-received-detail",  Get,    "/v3/received/detail",               (Report, App),    (Scope::Report, BudgetName::Report),     (B::None, Nobody),         Nested),
    row("report-messages",         Get,    "/v3/messages",                      (Report, App),    (Scope::Report, BudgetName::Report),     (B::None, Nobody),         Nested),
    row("report-messages-detail",  Get,    "/v3/messages/detail",               (Report, App),    (Scope::Report, BudgetName::Report),     (B::None, Nobody),         Nested),
    row("report-users",            Get,    "/v3/users",                         (Report, App),    (Scope::Report, BudgetName::Report),     (B::None, Nobody),         Nested),
    row("report-message-status",   Post,   "/v3/status/message",                (Report, App),    (Scope::Report, BudgetName::Report),     (B::Json, Nobody),         Nested),
    row("report-group-messages",   Get,    "/v3/group/messages/detail",         (Report, Group),  (Scope::Report, BudgetName::Report),     (B::None, Nobody),         Nested),
    row("report-group-users",      Get,    "/v3/group/users",                   (Report, Group),  (Scope::Report, BudgetName::Report),     (B::None, Nobody),         Nested),
];

/// Paths of calls that change nothing, although their method is not GET.
const QUESTIONS: [&str; 3] = ["/v3/push/validate", "/v3/devices/status", "/v3/status/message"];
/// Path values that the vendor makes up. All others (aliases, tags, devices) may say something about people, so logs do
/// not show them.
const VENDOR_IDS: [&str; 4] = ["{msg_id}", "{id}", "{file_id}", "{media_id}"];

impl Operation {
    /// Whether the call sends or changes something: any call but `GET` and the queries among the others.
    pub fn has_effect(&self) -> bool {
        self.method != Get && !QUESTIONS.contains(&self.path)
    }

    /// Whether the path ends with an id that the vendor made up.
    pub fn names_vendor_id(&self) -> bool {
        VENDOR_IDS.iter().any(|id| self.path.ends_with(id))
    }
}

#[expect(clippy::too_many_arguments, reason = "the columns of the table, in the order they are read")]
const fn row(
    name: &'static str,
    method: Verb,
    path: &'static str,
    (host, credential): (Host, CredentialRule),
    (scope, budget): (Scope, BudgetName),
    (body, audience): (BodyRule, Audience),
    envelope: Envelope,
) -> Operation {
    Operation { name, method, path, host, credential, scope, budget, body, audience, envelope }
}
