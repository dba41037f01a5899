//! A checked request body: evidence that the vendor would not certainly refuse it.

use bytes::Bytes;

use crate::body::{self, Ahead, Defect, Facts, Subject};
use crate::intake::Buffered;
use crate::operation::BodyRule;

/// A body that was checked, whole and byte for byte as the caller sent it.
pub struct Payload {
    body: Buffered,
    facts: Facts,
}

impl Payload {
    /// Checks a body, of which `ahead` may know a part. Where the operation takes none, what was sent is dropped.
    pub fn check(
        rule: BodyRule,
        subject: &Subject<'_>,
        body: Buffered,
        ahead: Option<&Ahead>,
    ) -> Result<Self, Defect> {
        let facts = body::check_rest(rule, subject, &body, ahead)?;
        let body = if matches!(rule, BodyRule::None | BodyRule::CidQuery) { Buffered::empty() } else { body };
        Ok(Self { body, facts })
    }

    /// What the body says about the call.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The bytes; cheap to clone.
    pub fn bytes(&self) -> Bytes {
        self.body.bytes()
    }
}
