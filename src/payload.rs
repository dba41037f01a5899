//! A checked request body: evidence that the vendor would not certainly refuse it.

use bytes::Bytes;

use crate::body::{self, Cid, Defect, Facts, Prescan, Subject};
use crate::body_reader::{BodyReservation, RequestBody};
use crate::operation::BodyRule;

/// A body that was checked, whole and byte for byte as the caller sent it, but for a cid of ours.
pub struct Payload {
    body: RequestBody,
    facts: Facts,
}

impl Payload {
    /// Checks a body, of which `prescan` may know a part. Where the operation takes none, what was sent is dropped.
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

    /// No body.
    pub fn none() -> Self {
        Self { body: RequestBody::empty(), facts: Facts::default() }
    }

    /// The same push with a cid in front of all it says.
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

    /// What the body says about the call.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The bytes.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The bytes, what they say, and the memory they count for.
    pub fn into_parts(self) -> (Bytes, Facts, Option<BodyReservation>) {
        let (bytes, hold) = self.body.into_parts();
        (bytes, self.facts, hold)
    }
}
