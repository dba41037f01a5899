//! The body of a call: read with all limits, then checked before it costs anything.

use super::Worker;
use super::head::names_encryption;

use crate::body::{Prescan, Subject};
use crate::body_reader::{self, RequestBody};
use crate::http1::body::BodySource;
use crate::http1::fields::FieldValue;
use crate::operation::Matched;
use crate::payload::Payload;
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead};
use crate::telemetry::metrics::RuleOutcome;
use crate::tenant::Grant;

/// A body that was read, with the findings about its beginning from while it arrived.
pub(super) struct ScannedBody {
    pub(super) bytes: RequestBody,
    prescan: Option<Box<Prescan>>,
}

impl Worker {
    /// The facts about a call that the rules for bodies need.
    pub(super) fn subject<'s>(
        &'s self,
        grant: &'s Grant,
        matched: &Matched<'s>,
        head: &'s RequestHead,
    ) -> Subject<'s> {
        let operation = grant.operation();
        Subject {
            method: operation.method,
            family: operation.family(),
            query: head.target.query(),
            value: matched.value,
            content_type: head.one(Field::ContentType).ok().flatten().map(FieldValue::bytes),
            encrypted: operation.takes_encrypted() && names_encryption(head),
            app_key: grant.app_key(),
            files: &self.active.files,
            images: &self.active.images,
        }
    }

    /// Reads the body within what its operation and its caller may use.
    pub(super) async fn read_body(
        &self,
        grant: &Grant,
        subject: &Subject<'_>,
        source: &mut dyn BodySource,
    ) -> Result<ScannedBody, Refusal> {
        let operation = grant.operation();
        let reservation = self.shared.admission.hold(self.active.caller_admission(grant));
        let mut prescan = None;
        let look = |beginning: &[u8]| {
            let new = || Box::new(Prescan::new(operation.body, subject));
            prescan.get_or_insert_with(new).scan(beginning);
        };
        let allowance = self.active.allowance(operation);
        let bytes = body_reader::read(source, allowance, reservation, &self.spare, look).await?;
        Ok(ScannedBody { bytes, prescan })
    }

    /// Checks a body against the rules of its operation, and against the rights of its caller.
    pub(super) fn check_body(
        &self,
        grant: &Grant,
        subject: &Subject<'_>,
        body: ScannedBody,
    ) -> Result<Payload, Refusal> {
        let operation = grant.operation();
        let metrics = &self.telemetry.metrics;
        let payload = Payload::check(operation.body, subject, body.bytes, body.prescan.as_deref())
            .inspect_err(|defect| metrics.body_rule(defect.rule, RuleOutcome::Refused))?;
        if let Some(rule) = payload.facts().reported {
            metrics.body_rule(rule, RuleOutcome::Reported);
            let (operation, caller) = (operation.name, grant.caller().name.as_str());
            tracing::info!(rule = rule.as_str(), operation, caller, "a body broke a rule that only reports");
        }
        grant.permit(payload.facts())?;
        Ok(payload)
    }
}
