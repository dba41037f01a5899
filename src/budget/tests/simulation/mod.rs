//! A simulation of callers, gateway and vendor on random schedules, which checks the laws of the budgets. The budgets'
//! code is the real one; time is set by the simulation.
//!
//! `BUDGET_SEED=17 cargo test simulation` repeats one schedule; `BUDGET_SCHEDULES=100000` runs more of them.

mod changes;
mod laws;
mod random;
mod store;
mod windows;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::RangeInclusive;
use std::task::{Context, Waker};

use random::Random;
use store::Store;
use windows::{Counted, Vendor};

use super::*;

const SECOND: u64 = 1_000_000;
/// The budgets of the only key; a call draws on one or more of them.
const NAMES: [BudgetName; 3] = [BudgetName::Schedule, BudgetName::File, BudgetName::Broadcast];
const COUNT: usize = NAMES.len();
/// The longest that an attempt lasts.
const ATTEMPT: u64 = 30 * SECOND;

#[derive(Clone, Copy)]
enum Event {
    Arrives,
    Looks(u64),
    HangsUp(u64),
    Dispatches(u64),
    Ends(u64),
    Reloads,
    Restarts,
    /// Another replica makes a call that is answered at once: its slot is held for one window.
    ForeignCall,
    ForeignEnds(u64, u64),
    /// The store becomes unavailable, or available again.
    StoreToggles,
}

/// A request that asks for a slot.
struct Request {
    caller: usize,
    draws_on: Vec<usize>,
    until: Timestamp,
    ticket: Option<Box<QueueTicket>>,
    /// The time of its next look without a wake-up.
    wakes: u64,
    /// The time of its next request to the store (`None`: at every look), and the numbers under which it holds slots
    /// there.
    asks: Option<u64>,
    slots: Vec<u64>,
}

/// A call that was paid for.
struct Call {
    caller: usize,
    draws_on: Vec<usize>,
    /// The limits when it was taken, and its position in the order of takes.
    limits: [u32; COUNT],
    order: u64,
    stage: CallStage,
    fate: Fate,
    slots: Vec<u64>,
}

enum CallStage {
    Paid(Permit),
    UnderWay(Permit),
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    GivenUp,
    NotSent,
    Cancelled,
}

struct World {
    random: Random,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<u64, Event>,
    vendors: [Vendor; COUNT],
    limits: [BudgetLimit; COUNT],
    horizon: Horizon,
    registry: Budgets,
    budgets: [Arc<Budget>; COUNT],
    requesters: Vec<Requester>,
    /// Reserved calls of each caller, by budget.
    kept: [Vec<(CallerNumber, u32)>; COUNT],
    requests: BTreeMap<u64, Request>,
    calls: BTreeMap<u64, Call>,
    counted: [Vec<Counted>; COUNT],
    latency: RangeInclusive<u64>,
    faults: bool,
    /// Whether new requests replace those that were served.
    refill: bool,
    /// The store, if replicas share the budgets.
    store: Option<Store>,
    /// The contents of a state file: the ends of the calls on each budget.
    state: Option<Vec<(usize, Ended)>>,
    run: u32,
    next: u64,
    taken: u64,
    latency_sum: u64,
    /// Calls that were paid for, by caller.
    served: BTreeMap<usize, u64>,
    effort: Effort,
    /// The time since which some waiting request could pass, and the number of calls taken by then.
    open_since: Option<(u64, u64)>,
}

/// Counts of decisions, and of the changes that make a decision worthwhile.
#[derive(Default)]
struct Effort {
    looks: u64,
    /// Slots taken or released, requests that came or left, reloads.
    changes: u64,
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("short")
}

fn limit(limit: u64, window: u64, burst: Option<u32>) -> BudgetLimit {
    let size = size(u32::try_from(limit).expect("small"), Duration::from_micros(window));
    BudgetLimit { burst: burst.and_then(NonZeroU32::new), ..size }
}

impl World {
    fn new(seed: u64, faults: bool) -> Self {
        let mut random = Random(seed);
        let guard = random.within(0..=10) * SECOND;
        let vendors = [(); COUNT].map(|()| {
            let window = random.within(1..=60) * SECOND;
            Vendor { limit: random.within(1..=20), window, guard }
        });
        let horizon =
            Horizon { guard: Duration::from_micros(guard), attempt: Duration::from_micros(ATTEMPT) };
        let limits = vendors.map(|vendor| limit(vendor.limit, vendor.window, None));
        let registry = Budgets::default();
        let budgets = open(&registry, limits, horizon);
        let requesters = (0..random.within(1..=4)).map(|caller| {
            let quota = (faults && random.percent(20)).then(|| {
                let quota = limit(random.within(1..=10), random.within(1..=60) * SECOND, None);
                Arc::new(Quota::new(quota, horizon))
            });
            let weight = u32::try_from(random.within(1..=4)).expect("small");
            let caller = CallerNumber(u32::try_from(caller).expect("few"));
            Requester { weight, quota, ..Requester::of(caller) }
        });
        let requesters: Vec<Requester> = requesters.collect();
        let kept = reserves(&mut random, &requesters, limits);
        keep(&budgets, &kept);
        let slowest = [SECOND / 10, SECOND, 30 * SECOND][usize::try_from(random.next() % 3).expect("small")];
        Self {
            now: 0,
            events: BinaryHeap::new(),
            due: BTreeMap::new(),
            vendors,
            limits,
            horizon,
            registry,
            budgets,
            requesters,
            kept,
            requests: BTreeMap::new(),
            calls: BTreeMap::new(),
            counted: [(); COUNT].map(|()| Vec::new()),
            latency: 0..=slowest,
            faults,
            refill: false,
            store: None,
            state: random.percent(50).then(Vec::new),
            run: 0,
            next: 0,
            taken: 0,
            latency_sum: 0,
            served: BTreeMap::new(),
            effort: Effort::default(),
            open_since: None,
            random,
        }
    }

    fn plan(&mut self, at: u64, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at.max(self.now), self.next)));
        self.due.insert(self.next, event);
    }

    /// Runs until no event is due any more, or until `end`.
    fn play_until(&mut self, end: u64) {
        while let Some(Reverse((at, number))) =
            self.events.peek().copied().filter(|Reverse((at, _))| *at <= end)
        {
            self.events.pop();
            self.move_to(at);
            let event = self.due.remove(&number).expect("planned");
            self.happen(event);
            self.look_when_woken();
            self.check_progress();
        }
        if end < u64::MAX {
            self.move_to(end);
        }
    }

    fn move_to(&mut self, at: u64) {
        self.now = at;
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives => self.arrive(),
            Event::Looks(request) => {
                // A wake-up in the meantime can have changed the time of its next look.
                if self.requests.get(&request).is_some_and(|request| request.wakes <= self.now) {
                    self.look(request);
                }
            }
            Event::HangsUp(request) => {
                self.effort.changes += 1;
                let left = self.requests.remove(&request);
                self.release(left.map(|left| left.slots).unwrap_or_default(), None);
            }
            Event::Dispatches(call) => self.dispatch(call),
            Event::Ends(call) => self.end(call),
            Event::Reloads => self.reload(),
            Event::Restarts => self.restart(),
            Event::ForeignCall => self.foreign_call(),
            Event::ForeignEnds(call, window) => self.release(vec![call], Some(window)),
            Event::StoreToggles => {
                if let Some(store) = &mut self.store {
                    store.is_away = !store.is_away;
                }
            }
        }
    }

    /// Lets every request that was woken look at once.
    fn look_when_woken(&mut self) {
        let cx = Context::from_waker(Waker::noop());
        loop {
            let rung = self.requests.iter().find(|(_, request)| {
                request.ticket.as_ref().is_some_and(|ticket| ticket.wakeup().poll(&cx).is_ready())
            });
            let Some((&request, _)) = rung else { return };
            self.look(request);
        }
    }

    fn arrive(&mut self) {
        let caller = usize::try_from(self.random.next()).expect("64 bits") % self.requesters.len();
        let draws_on = match self.random.next() % 7 {
            _ if !self.faults => vec![0],
            0 => vec![1],
            1 | 2 => vec![0, 1],
            3 => vec![0, 2],
            4 => vec![0, 1, 2],
            _ => vec![0],
        };
        self.arrive_from(caller, draws_on);
    }

    fn arrive_from(&mut self, caller: usize, draws_on: Vec<usize>) {
        let wait_limit = match self.random.next() % 3 {
            _ if !self.faults => 3600 * SECOND,
            0 => 0,
            _ => self.random.within(0..=40) * SECOND,
        };
        let until = Timestamp::from_micros(self.now + wait_limit);
        self.next += 1;
        let request = self.next;
        let (wakes, asks, slots) = (self.now, None, Vec::new());
        self.requests.insert(request, Request { caller, draws_on, until, ticket: None, wakes, asks, slots });
        if self.faults && self.random.percent(20) {
            let hangs_up = self.now + self.random.within(0..=wait_limit);
            self.plan(hangs_up, Event::HangsUp(request));
        }
        self.look(request);
    }

    fn budget_set(&self, draws_on: &[usize]) -> BudgetSet {
        let budgets: Vec<_> = draws_on.iter().map(|place| &self.budgets[*place]).collect();
        budget_set(&budgets)
    }

    fn look(&mut self, number: u64) {
        let now = self.timestamp();
        let Some(mut request) = self.requests.remove(&number) else { return };
        self.effort.looks += 1;
        let budget_set = self.budget_set(&request.draws_on);
        let wait_limit = if request.until > now { WaitLimit::Until(request.until) } else { WaitLimit::None };
        let gates = request.ticket.as_ref().map(|ticket| ticket.gates());
        let ticket = request.ticket.take();
        let (granted, asked) = self.ask_store(&mut request, ticket.as_deref());
        let requester = &self.requesters[request.caller];
        match decide_with(&budget_set, requester, now, ticket, (wait_limit, granted)) {
            Decision::Paid(permit) => {
                request.slots.extend(asked);
                self.paid(permit, request);
            }
            Decision::Refused(_) => {
                self.effort.changes += 1;
                request.slots.extend(asked);
                self.release(request.slots, None);
            }
            Decision::Wait { ticket, look_at } => {
                assert!(look_at.is_none_or(|at| at > now), "a look in the past would be repeated for ever");
                if gates == Some(ticket.gates()) || gates.is_none() {
                    self.release(asked.into_iter().collect(), None);
                } else {
                    request.slots.extend(asked);
                }
                if gates != Some(ticket.gates()) && (gates.is_some() || ticket.gates() > 1) {
                    request.asks = Some(self.now + 1);
                }
                let looks = look_at.map_or(u64::MAX, Timestamp::as_micros);
                let asks = request.asks.filter(|_| self.store.is_some());
                request.wakes = looks.min(asks.unwrap_or(u64::MAX)).min(request.until.as_micros());
                self.plan(request.wakes, Event::Looks(number));
                request.ticket = Some(ticket);
                self.requests.insert(number, request);
            }
        }
    }

    fn paid(&mut self, permit: Permit, request: Request) {
        let Request { caller, draws_on, slots, .. } = request;
        let hold = self.vendors.iter().map(|vendor| ATTEMPT + vendor.guard + vendor.window).max();
        let (now, hold) = (self.now, hold.unwrap_or_default());
        if let Some(store) = &mut self.store
            && !slots.iter().all(|call| store.renew(*call, now, hold))
        {
            return self.release(slots, None);
        }
        self.taken += 1;
        *self.served.entry(caller).or_default() += 1;
        self.effort.changes += 1;
        for place in &draws_on {
            let status = self.budgets[*place].status(self.timestamp());
            assert!(status.used <= status.limit, "{} slots of {}", status.used, status.limit);
        }
        let fate = match self.random.next() % 100 {
            _ if !self.faults => Fate::Answered,
            0..10 => Fate::Cancelled,
            10..20 => Fate::NotSent,
            20..40 => Fate::GivenUp,
            _ => Fate::Answered,
        };
        let limits = self.limits.map(|limit| limit.limit.get());
        let (order, stage) = (self.taken, CallStage::Paid(permit));
        self.next += 1;
        let call = self.next;
        self.calls
            .insert(call, Call { caller, draws_on: draws_on.clone(), limits, order, stage, fate, slots });
        let delay = if self.faults { self.random.within(0..=SECOND / 100) } else { 0 };
        self.plan(self.now + delay, Event::Dispatches(call));
        if self.refill {
            self.arrive_from(caller, draws_on);
        }
    }

    fn dispatch(&mut self, number: u64) {
        let Some(mut call) = self.calls.remove(&number) else { return };
        let CallStage::Paid(permit) = call.stage else { panic!("dispatched once") };
        if call.fate == Fate::Cancelled {
            self.effort.changes += 1;
            self.release(call.slots, None);
            return drop(permit);
        }
        call.stage = CallStage::UnderWay(permit);
        let lasts = match call.fate {
            Fate::NotSent => self.random.within(0..=3 * SECOND),
            Fate::GivenUp => self.random.within(0..=ATTEMPT),
            Fate::Answered | Fate::Cancelled => self.random.within(self.latency.clone()),
        };
        self.latency_sum += lasts;
        for &place in &call.draws_on {
            let seen_for = match call.fate {
                Fate::Answered => Some(lasts),
                // The vendor may count the call long after it was given up, or never.
                Fate::GivenUp => self.random.percent(70).then_some(lasts + self.vendors[place].guard),
                Fate::NotSent | Fate::Cancelled => None,
            };
            if let Some(seen_for) = seen_for {
                let at = self.now + self.random.within(0..=seen_for);
                let (order, limit, run) = (call.order, call.limits[place], self.run);
                self.counted[place].push(Counted { at, order, limit, run });
            }
        }
        self.calls.insert(number, call);
        self.plan(self.now + lasts, Event::Ends(number));
    }

    fn end(&mut self, number: u64) {
        let Some(call) = self.calls.remove(&number) else { return };
        self.effort.changes += 1;
        let CallStage::UnderWay(permit) = call.stage else { panic!("ends after its dispatch") };
        match call.fate {
            Fate::Answered => {
                let rate_headers = if self.faults && self.random.percent(10) {
                    self.random_rate_headers()
                } else {
                    RateHeaders::default()
                };
                self.note(&call.draws_on, Ended::Answered(self.timestamp()));
                permit.settle(self.timestamp(), rate_headers);
                let window = call.draws_on.iter().map(|place| self.vendors[*place].window).max();
                self.release(call.slots, window);
            }
            Fate::GivenUp => {
                self.note(&call.draws_on, Ended::GivenUp(self.timestamp()));
                permit.abandon(self.timestamp());
                let ends = |place: &usize| self.vendors[*place].guard + self.vendors[*place].window;
                let keep = call.draws_on.iter().map(ends).max();
                self.release(call.slots, keep);
            }
            Fate::NotSent => {
                drop(permit);
                self.release(call.slots, None);
                // The second attempt pays for itself and does not wait.
                if self.random.percent(50) {
                    let budget_set = self.budget_set(&call.draws_on);
                    let again = take(&budget_set, &self.requesters[call.caller], self.timestamp());
                    if let Ok(permit) = again {
                        let Call { caller, draws_on, .. } = call;
                        let (until, ticket, slots) = (self.timestamp(), None, Vec::new());
                        let (wakes, asks) = (self.now, None);
                        self.paid(permit, Request { caller, draws_on, until, ticket, wakes, asks, slots });
                    }
                }
            }
            Fate::Cancelled => panic!("never dispatched"),
        }
    }
}

fn open(registry: &Budgets, limits: [BudgetLimit; COUNT], horizon: Horizon) -> [Arc<Budget>; COUNT] {
    let mut names = NAMES.into_iter();
    limits.map(|limit| registry.open(&key("a"), names.next().expect("as many"), limit, horizon))
}

/// Random reserves within the limits, for some of the callers.
fn reserves(
    random: &mut Random,
    requesters: &[Requester],
    limits: [BudgetLimit; COUNT],
) -> [Vec<(CallerNumber, u32)>; COUNT] {
    limits.map(|limit| {
        let mut left = limit.limit.get();
        let mut kept = Vec::new();
        for requester in requesters {
            if left > 0 && random.percent(30) {
                let calls = u32::try_from(random.within(1..=left.into())).expect("small");
                kept.push((requester.caller, calls));
                left -= calls;
            }
        }
        kept
    })
}

fn keep(budgets: &[Arc<Budget>; COUNT], kept: &[Vec<(CallerNumber, u32)>; COUNT]) {
    for (budget, kept) in budgets.iter().zip(kept) {
        budget.keep(kept);
    }
}
