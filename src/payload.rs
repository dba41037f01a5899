//! A checked request body. Having one means that the body breaks none of the rules that are checked before a call.

use bytes::Bytes;

use crate::body::{self, Cid, Defect, Facts, Prescan, Subject};
use crate::body_reader::{BodyReservation, RequestBody};
use crate::operation::BodyRule;

/// A checked body, byte for byte as the caller sent it, except for a cid added by the gateway.
pub struct Payload {
    body: RequestBody,
    facts: Facts,
}

impl Payload {
    /// Checks a body; `prescan` holds the results of checks made while it was read. An operation without a body gets an
    /// empty one, whatever was sent.
    pub fn check(
        rule: BodyRule,
        subject: &Subject<'_>,
        body: RequestBody,
        prescan: Option<&Prescan>,
    ) -> Result<Self, Defect> {
        let facts = body::check_rest(rule, subject, &body, prescan)?;
        let body =
            if matches!(rule, BodyRule::None | BodyRule::CidQuery) { RequestBody::empty() } else { body };
        Ok(Self { body, facts })
    }

    /// The payload of a call without a body.
    pub fn none() -> Self {
        Self { body: RequestBody::empty(), facts: Facts::default() }
    }

    /// Adds a cid in front of the other members of a push.
    #[must_use]
    pub fn with_cid(self, cid: &Cid) -> Self {
        let Self { body, facts } = self;
        match cid.write_into(&body) {
            Some(written) => {
                Self { body: body.rewritten(written.into()), facts: Facts { has_cid: true, ..facts } }
            }
            None => Self { body, facts },
        }
    }

    /// The facts about the call that its body contained.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The bytes of the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Length of the body in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The bytes, their facts, and their memory reservation.
    pub fn into_parts(self) -> (Bytes, Facts, Option<BodyReservation>) {
        let (bytes, hold) = self.body.into_parts();
        (bytes, self.facts, hold)
    }
}
