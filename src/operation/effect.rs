//! What a call does to people, and whether doing it twice can be undone by the vendor.

use super::{BodyRule, CredentialRule, Operation, Verb};

impl Operation {
    /// Whether a push in the body reaches devices: validation sends nothing.
    pub fn delivers(&self) -> bool {
        self.path != "/v3/push/validate"
    }

    /// Whether the call sends a push, now or later: made twice, people would get it twice.
    pub fn sends(&self) -> bool {
        let body =
            matches!(self.body, BodyRule::Push | BodyRule::GroupPush | BodyRule::FilePush | BodyRule::Batch);
        (body && self.delivers())
            || self.path.starts_with("/v3/push/template")
            || (self.body == BodyRule::Schedule && self.method == Verb::Post)
    }

    /// Whether the vendor certainly knows a repeated call by its top-level cid and does not send it again.
    ///
    /// Documented for pushes and file pushes of one app (S3). A group has no cids of its own to fetch, and a
    /// validation has nothing to repeat.
    pub fn knows_cid(&self) -> bool {
        self.credential == CredentialRule::App
            && matches!(self.body, BodyRule::Push | BodyRule::FilePush)
            && self.delivers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OPERATIONS;

    fn named(which: impl Fn(&Operation) -> bool) -> Vec<&'static str> {
        OPERATIONS.iter().filter(|row| which(row)).map(|row| row.name).collect()
    }

    #[test]
    fn calls_that_send_and_calls_whose_cid_the_vendor_knows() {
        let sends = [
            "push",
            "push-template",
            "push-template-schedule",
            "push-batch-regid",
            "push-batch-alias",
            "push-file",
            "group-push",
            "group-push-file",
            "schedule-create",
        ];
        assert_eq!(named(Operation::sends), sends);
        assert_eq!(named(Operation::knows_cid), ["push", "push-file"]);
    }
}
