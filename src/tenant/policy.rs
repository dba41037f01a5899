//! What a body makes of a call: whether its caller may reach whom it names, and what that costs.

use super::{Denied, Grant, MissingRight};
use crate::body::{Facts, Reach};
use crate::budget::BudgetSet;
use crate::operation::{Audience, BudgetName, Scope};

impl Grant {
    /// Whether the caller may reach those whom the body names.
    ///
    /// # Errors
    ///
    /// Without the right to reach everybody: whatever is not known to reach fewer, and an encrypted push, whose audience
    /// nobody can see. Without the scope of files: a target list.
    pub fn permit(&self, facts: &Facts) -> Result<(), Denied> {
        let narrow = self.reached(facts.reach) <= Reach::Named && !facts.encrypted;
        let caller = self.caller();
        if !narrow && !caller.broadcast {
            return Err(Denied::Forbidden(MissingRight::Broadcast));
        }
        if facts.audience_file && !caller.may(Scope::File) {
            return Err(Denied::Forbidden(MissingRight::Scope(Scope::File)));
        }
        Ok(())
    }

    /// The budgets a call draws on: its operation's own, and others as its body says. Those that are off cost nothing.
    pub fn budget_set(&self, facts: &Facts) -> BudgetSet {
        let rows = [
            (true, self.operation.budget),
            (facts.audience_file, BudgetName::File),
            (self.reached(facts.reach) == Reach::Everybody, BudgetName::Broadcast),
            (facts.oppo_big, BudgetName::OppoBig),
            (facts.oppo_icon, BudgetName::OppoIcon),
        ];
        let mut budget_set = BudgetSet::default();
        let names = rows.into_iter().filter_map(|(draws, name)| draws.then_some(name));
        names.filter_map(|name| self.credential().budget(name)).for_each(|budget| budget_set.add(budget));
        budget_set
    }

    /// Whom the call reaches, as far as anybody can tell: nobody where it delivers nothing, whatever its body says, and
    /// perhaps everybody where it sends a push and its rule read no audience.
    fn reached(&self, said: Reach) -> Reach {
        match (self.operation.audience, said) {
            (Audience::Nobody, _) => Reach::Nobody,
            (_, Reach::Nobody) if self.operation.sends() => Reach::Everybody,
            _ => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::budget::Budgets;
    use crate::config;
    use crate::operation::OperationId;
    use crate::tenant::{Directory, TenantHints};

    /// Each row, and whether a caller without the right to broadcast and the scope of files may make its call.
    fn permitted(facts: Facts) -> impl Iterator<Item = (OperationId, bool)> {
        let scopes = "[ push, group, schedule, image, device, report ], broadcast: false }";
        let narrow = format!(
            "  narrow: {{ tokens: [ {{ sha256: {:064x} }} ], tenants: [ shop ], allow: {scopes}\n",
            1
        );
        let yaml = include_str!("../../config/demo.yaml").to_owned() + &narrow;
        let config = config::parse(&yaml, Path::new("."), &config::System).expect("a good configuration");
        let directory = Arc::new(Directory::new(&config, &Budgets::default()));
        OperationId::all().filter_map(move |id| {
            let caller = directory.principal_named("narrow", None).expect("the caller");
            let grant = directory.authorize(caller, id, TenantHints::default()).ok()?;
            Some((id, grant.permit(&facts).is_ok()))
        })
    }

    #[test]
    fn every_row_that_delivers_takes_the_rights_that_its_audience_asks_for() {
        let with = |reach| Facts { reach, ..Facts::default() };
        for (id, may) in permitted(with(Reach::Named)) {
            assert!(may, "{}", id.name);
        }
        for reach in [Reach::Open, Reach::Everybody] {
            for (id, may) in permitted(with(reach)) {
                assert_eq!(may, id.audience == Audience::Nobody, "{} {reach:?}", id.name);
            }
        }
        for (id, may) in permitted(Facts { audience_file: true, ..with(Reach::Named) }) {
            assert!(!may, "{}", id.name);
        }
    }

    /// A row whose rule reads no audience does not slip past.
    #[test]
    fn what_sends_and_says_of_nobody_whom_it_reaches_may_reach_everybody() {
        for (id, may) in permitted(Facts::default()) {
            assert_eq!(may, !id.sends(), "{}", id.name);
        }
    }
}
