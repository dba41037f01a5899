//! Applies the facts that were read from a body: checks whether the caller may reach the recipients, and lists the
//! budgets.

use std::sync::Arc;

use super::{Denied, Grant, MissingRight};
use crate::body::{Facts, Reach};
use crate::budget::BudgetSet;
use crate::operation::{Audience, BudgetName, Scope};

impl Grant {
    /// Checks whether the caller may reach the recipients that the body names.
    ///
    /// # Errors
    ///
    /// Without the right to broadcast, a call is denied unless it is known to reach fewer than everybody; so is an
    /// encrypted push, whose audience cannot be read. Without the scope `file`, a target list is denied.
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

    /// The budgets that a call draws on: its operation's own, and others according to its body. Budgets that are off
    /// are left out.
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
        names
            .filter_map(|name| self.credential().budget(name))
            .for_each(|budget| budget_set.add(Arc::clone(budget)));
        budget_set
    }

    /// The recipients of the call, as far as they are known: nobody if the operation delivers nothing, whatever its
    /// body says; everybody if it sends a push whose rule read no audience.
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

    /// Each operation, and whether a caller without the right to broadcast and without the scope `file` may call it.
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

    /// A row whose rule reads no audience must not escape the check.
    #[test]
    fn what_sends_and_says_of_nobody_whom_it_reaches_may_reach_everybody() {
        for (id, may) in permitted(Facts::default()) {
            assert_eq!(may, !id.sends(), "{}", id.name);
        }
    }
}
