//! Tells which calls send pushes, and which of them the vendor deduplicates.

use super::{Audience, BodyRule, BudgetName, CredentialRule, Operation, Verb};

impl Operation {
    /// Whether the call sends a push, now or later. Sending it twice would reach people twice.
    pub fn sends(&self) -> bool {
        self.audience != Audience::Nobody && self.method == Verb::Post
    }

    /// Whether the vendor is known to recognise a repeated call by its top-level cid and not to send it again.
    ///
    /// That is documented for pushes and file pushes of one app (`docs/vendor.md`, V24). Groups have no cids of their
    /// own to fetch, and a validation sends nothing.
    pub fn knows_cid(&self) -> bool {
        self.credential == CredentialRule::App && self.audience == Audience::Body
    }

    /// Whether the header `X-Encrypt-Type` marks the body as encrypted. SDKs send it on pushes; on any other call the
    /// header is ignored and the body read.
    pub fn takes_encrypted(&self) -> bool {
        matches!(self.body, BodyRule::Push | BodyRule::GroupPush) && self.audience == Audience::Body
    }

    /// Whether the body of the call can send a push to a target list.
    pub fn can_name_list(&self) -> bool {
        matches!(self.audience, Audience::Push | Audience::Params)
    }

    /// Whether the call brings pictures for the vendor's channels.
    pub fn takes_pictures(&self) -> bool {
        matches!(self.body, BodyRule::ImageUrls | BodyRule::ImageFiles | BodyRule::ImageUrlsV4)
    }

    /// Whether some body of the call draws on a budget, if its caller has every right.
    pub fn can_draw_on(&self, budget: BudgetName) -> bool {
        let by_body = match budget {
            BudgetName::Broadcast => self.audience != Audience::Nobody,
            BudgetName::File => self.can_name_list(),
            BudgetName::OppoBig | BudgetName::OppoIcon => self.takes_pictures(),
            BudgetName::Push | BudgetName::Schedule | BudgetName::Device | BudgetName::Report => false,
        };
        self.budget == budget || by_body
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
        assert_eq!(named(Operation::takes_encrypted), ["push", "group-push"]);
    }

    /// A new row that delivers has to get an audience, or be listed here with the reason why not.
    #[test]
    fn calls_of_the_apis_that_deliver_say_whom_they_reach() {
        let delivering = ["/v3/push", "/v3/grouppush", "/v3/schedules"];
        let may = |row: &Operation| {
            matches!(row.method, Verb::Post | Verb::Put)
                && delivering.iter().any(|start| row.path.starts_with(start))
        };
        let silent = named(|row| may(row) && row.audience == Audience::Nobody);
        // A validation sends nothing, and a plan is a name and a description.
        assert_eq!(silent, ["push-validate", "push-plan-create", "push-plan-update"]);
        assert!(OPERATIONS.iter().all(|row| may(row) || row.audience == Audience::Nobody));
    }
}
