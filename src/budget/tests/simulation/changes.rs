//! Changes from outside: rate headers of the vendor, a reload, a restart.

use super::*;

impl World {
    /// Random rate headers: whatever they say, they can only reduce the number of calls.
    pub(super) fn random_rate_headers(&mut self) -> RateHeaders {
        let mut number = |most: u64| {
            self.random.percent(50).then(|| u32::try_from(self.random.within(0..=most)).expect("small"))
        };
        let (limit, remaining, reset) = (number(30), number(30), number(90));
        let reset = reset.map(|seconds| Duration::from_secs(seconds.into()));
        RateHeaders { limit, remaining, reset, refused: self.random.percent(20) }
    }

    /// Applies another configuration, never above what the vendor allows.
    pub(super) fn reload(&mut self) {
        self.effort.changes += 1;
        for place in 0..COUNT {
            let Vendor { limit: most, window, guard } = self.vendors[place];
            let new = self.random.within(1..=most);
            let burst =
                self.random.percent(20).then(|| u32::try_from(self.random.within(1..=new)).expect("small"));
            let longer = self.random.within(window..=3 * window);
            self.limits[place] = limit(new, longer, burst);
            let guard = Duration::from_micros(self.random.within(guard..=2 * guard));
            self.horizon = Horizon { guard, ..self.horizon };
        }
        self.budgets = open(&self.registry, self.limits, self.horizon);
        self.kept = reserves(&mut self.random, &self.requesters, self.limits);
        keep(&self.budgets, &self.kept);
    }

    pub(super) fn note(&mut self, draws_on: &[usize], ended: Ended) {
        if let Some(state) = &mut self.state {
            state.extend(draws_on.iter().map(|place| (*place, ended)));
        }
    }

    /// Starts a new process, with a state file or without one. The old one's calls under way end with it.
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
        keep(&self.budgets, &self.kept);
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
