//! What a body makes of a call: whether its caller may reach whom it names, and what that costs.

use super::{Denied, Grant};
use crate::body::{Facts, Reach};
use crate::budget::Draw;
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
        if (narrow || caller.broadcast) && (!facts.audience_file || caller.may(Scope::File)) {
            return Ok(());
        }
        Err(Denied::Forbidden)
    }

    /// The budgets a call draws on: its operation's own, and others as its body says. Those that are off cost nothing.
    pub fn draw(&self, facts: &Facts) -> Draw {
        let rows = [
            (true, self.operation.budget),
            (facts.audience_file, BudgetName::File),
            (self.reached(facts.reach) == Reach::Everybody, BudgetName::Broadcast),
            (facts.oppo_big, BudgetName::OppoBig),
            (facts.oppo_icon, BudgetName::OppoIcon),
        ];
        let mut draw = Draw::default();
        let names = rows.into_iter().filter_map(|(draws, name)| draws.then_some(name));
        names.filter_map(|name| self.credential().budget(name)).for_each(|budget| draw.add(budget));
        draw
    }

    /// A call that delivers nothing reaches nobody, whatever its body says.
    fn reached(&self, said: Reach) -> Reach {
        if self.operation.audience == Audience::Nobody { Reach::Nobody } else { said }
    }
}
