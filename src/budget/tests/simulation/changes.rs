//! What changes the world from outside: what the vendor says, another configuration, another process.

use super::*;

impl World {
    /// Rate headers without rhyme or reason: whatever they say, they can only make calls fewer.
    pub(super) fn hearsay(&mut self) -> RateHeaders {
        let mut number = |most: u64| {
            self.dice.percent(50).then(|| u32::try_from(self.dice.within(0..=most)).expect("small"))
        };
        let (limit, remaining, reset) = (number(30), number(30), number(90));
        let reset = reset.map(|seconds| Duration::from_secs(seconds.into()));
        RateHeaders { limit, remaining, reset, refused: self.dice.percent(20) }
    }

    /// Another configuration, never beyond what the vendor allows.
    pub(super) fn reload(&mut self) {
        self.effort.changes += 1;
        for place in 0..COUNT {
            let Vendor { limit: most, window, guard } = self.vendors[place];
            let new = self.dice.within(1..=most);
            let burst =
                self.dice.percent(20).then(|| u32::try_from(self.dice.within(1..=new)).expect("small"));
            let longer = self.dice.within(window..=3 * window);
            self.limits[place] = limit(new, longer, burst);
            let guard = Duration::from_micros(self.dice.within(guard..=2 * guard));
            self.horizon = Horizon { guard, ..self.horizon };
        }
        self.budgets = open(&self.registry, self.limits, self.horizon);
        self.kept = reserves(&mut self.dice, &self.requesters, self.limits);
        keep(self.budgets, &self.kept);
    }

    pub(super) fn note(&mut self, draws_on: &[usize], ended: Ended) {
        if let Some(state) = &mut self.state {
            state.extend(draws_on.iter().map(|place| (*place, ended)));
        }
    }

    /// A new process, with a state file or without a memory. What the old one had under way ends with it.
    pub(super) fn restart(&mut self) {
        self.requests.clear();
        let under_way: Vec<Call> = std::mem::take(&mut self.calls).into_values().collect();
        for call in under_way.iter().filter(|call| matches!(call.stage, CallStage::UnderWay(_))) {
            self.note(&call.draws_on, Ended::GivenUp(self.timestamp()));
            for &place in &call.draws_on {
                let latest = self.now + self.vendors[place].guard;
                let counted = self.counted[place].iter_mut().filter(|counted| counted.order == call.order);
                counted.for_each(|counted| counted.at = counted.at.min(latest));
            }
        }
        self.registry = Budgets::default();
        self.budgets = open(&self.registry, self.limits, self.horizon);
        keep(self.budgets, &self.kept);
        let Some(state) = &self.state else {
            self.run += 1;
            return;
        };
        let mut restored = RestoredCalls::new(None);
        for (place, ended) in state {
            restored.add(self.budgets[*place].id(), *ended);
        }
        self.registry.restore(restored);
    }
}
