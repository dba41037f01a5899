mod shared;
mod simulation;

use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;

use super::vendor_limit::Answered;
use super::*;

const HORIZON: Horizon = Horizon { guard: Duration::from_secs(10), attempt: Duration::from_secs(28) };

fn size(limit: u32, window: Duration) -> BudgetLimit {
    BudgetLimit { limit: NonZeroU32::new(limit).expect("not zero"), window, burst: None }
}

fn key(name: &str) -> VendorKey {
    VendorKey::new(name.into()).expect("a key")
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp::after_start(Duration::from_secs(seconds))
}

fn budget_set(budgets: &[&Arc<Budget>]) -> BudgetSet {
    let mut budget_set = BudgetSet::default();
    for budget in budgets {
        budget_set.add(Arc::clone(budget));
    }
    budget_set
}

fn anyone() -> Requester {
    Requester::of(CallerNumber(0))
}

/// Takes a slot and forgets the permit, which would give the slot back at the time of the real clock.
fn take_at(budget: &Arc<Budget>, now: Timestamp) -> Result<(), Exhausted> {
    let mut inner = lock(&budget.inner);
    if inner.free(now) == 0 {
        let wait = inner.until_free(now, 1, Estimate::Latest);
        return Err(inner.exhausted(now, wait));
    }
    inner.window.take();
    inner.dispatched += 1;
    Ok(())
}

#[test]
fn a_budget_that_nobody_has_is_kept_until_its_last_slot_ends() {
    let budgets = Budgets::default();
    let open = || budgets.open(&key("a"), BudgetName::Push, size(2, Duration::from_mins(1)), HORIZON);
    let (kept, used) = (|| lock(&budgets.by_key).len(), |at: u64| open().status(seconds(at)).used);
    let budget = open();
    budgets.forget_unused(seconds(0));
    let permit = take(&budget_set(&[&budget]), &anyone(), seconds(0)).expect("room");
    drop(budget);
    budgets.forget_unused(seconds(1));
    assert_eq!((kept(), used(1)), (1, 1), "a call under way has it");
    permit.settle(seconds(2), RateHeaders { limit: Some(9), ..RateHeaders::default() });
    budgets.forget_unused(seconds(62));
    assert_eq!((kept(), used(62)), (1, 1), "the slot is in use for a window after the answer");
    budgets.forget_unused(seconds(63));
    assert_eq!((kept(), used(63)), (0, 0));
}

#[test]
fn one_budget_is_shared_by_key_and_name_and_outlives_its_size() {
    let budgets = Budgets::default();
    let open = |name, limit| budgets.open(&key("a"), name, size(limit, Duration::from_mins(1)), HORIZON);
    let first = open(BudgetName::Push, 2);
    take_at(&first, seconds(0)).expect("a fresh budget has room");
    let again = open(BudgetName::Push, 1);
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(again.status(seconds(0)).remaining, 0, "the lower limit holds at once");
    assert_eq!(open(BudgetName::File, 2).status(seconds(0)).used, 0);
    open(BudgetName::Push, 3);
    assert_eq!(first.status(seconds(0)).remaining, 2, "and so does the higher one");
}

#[test]
fn a_slot_is_held_until_the_answer_and_one_window_more() {
    let budgets = Budgets::default();
    let budget = &budgets.open(&key("a"), BudgetName::File, size(1, Duration::from_mins(1)), HORIZON);
    take_at(budget, seconds(0)).expect("room");
    let Err(refusal) = take_at(budget, seconds(1)) else { panic!("the only slot is in flight") };
    assert_eq!(
        refusal.wait(),
        Duration::from_secs(28 + 10 + 60) + Timestamp::TICK,
        "as if the call took its full time"
    );
    lock(&budget.inner).window.settle(seconds(5), CallerNumber(0));
    let Err(refusal) = take_at(budget, seconds(6)) else { panic!("held for a window") };
    assert_eq!(refusal.wait(), Duration::from_secs(59) + Timestamp::TICK);
    assert!(take_at(budget, seconds(65)).is_err(), "the last instant of the window is still held");
    assert!(take_at(budget, seconds(6) + refusal.wait()).is_ok(), "a lone caller that waits is admitted");
}

#[test]
fn an_attempt_given_up_is_held_for_the_guard_as_well() {
    let budgets = Budgets::default();
    let budget = &budgets.open(&key("a"), BudgetName::File, size(1, Duration::from_mins(1)), HORIZON);
    take_at(budget, seconds(0)).expect("room");
    lock(&budget.inner).window.abandon(seconds(5), CallerNumber(0));
    let Err(refusal) = take_at(budget, seconds(6)) else { panic!("held") };
    assert_eq!(refusal.wait(), Duration::from_secs(69) + Timestamp::TICK);
    assert!(take_at(budget, seconds(75)).is_err());
    assert!(take_at(budget, seconds(6) + refusal.wait()).is_ok());
}

#[test]
fn all_budgets_or_none_whatever_the_order() {
    let (budgets, clock) = (Budgets::default(), Clock::start());
    let hour = Duration::from_hours(1);
    let schedule = &budgets.open(&key("a"), BudgetName::Schedule, size(5, hour), HORIZON);
    let file = &budgets.open(&key("a"), BudgetName::File, size(1, hour), HORIZON);
    for both in [budget_set(&[schedule, file]), budget_set(&[file, schedule])] {
        let order: Vec<_> = both.iter().map(Budget::name).collect();
        assert_eq!(order, [BudgetName::File, BudgetName::Schedule], "the scarcest first");
    }
    let now = clock.now();
    let first = take(&budget_set(&[file, schedule]), &anyone(), now).expect("both have room");
    let Err(Exhausted::Budget { name, .. }) = take(&budget_set(&[file, schedule]), &anyone(), now) else {
        panic!("no room in the file budget")
    };
    assert_eq!(name, BudgetName::File);
    assert_eq!(schedule.status(now).used, 1, "the refusal cost the schedule budget nothing");
    drop(first);
    assert_eq!((schedule.status(now).used, file.status(now).used), (0, 0), "nothing was dispatched");
}

#[test]
fn permits_account_wherever_they_are_dropped() {
    let (budgets, clock) = (Budgets::default(), Clock::start());
    let hour = Duration::from_hours(1);
    let budget = &budgets.open(&key("a"), BudgetName::Push, size(9, hour), HORIZON);
    let take = || take(&budget_set(&[budget]), &anyone(), clock.now()).expect("room for all");
    let used = || budget.status(clock.now()).used;
    drop(take());
    assert_eq!(used(), 0, "nothing was written");
    take().abandon(clock.now());
    assert_eq!(used(), 1, "given up: the vendor may count it");
    take().settle(clock.now(), RateHeaders::default());
    let status = budget.status(clock.now());
    assert_eq!((status.used, status.remaining), (2, 7));
    assert_eq!(budget.by_caller(clock.now()).get(&CallerNumber(0)), Some(&Calls { window: 2, hour: 2 }));
}

#[test]
fn a_quota_is_taken_with_the_slot_or_not_at_all() {
    let (budgets, clock) = (Budgets::default(), Clock::start());
    let hour = Duration::from_hours(1);
    let budget = &budgets.open(&key("a"), BudgetName::Push, size(1, hour), HORIZON);
    let quota = Arc::new(Quota::new(size(2, hour), HORIZON));
    let requester = || Requester { quota: Some(Arc::clone(&quota)), ..Requester::of(CallerNumber(1)) };
    let take = |now| take(&budget_set(&[budget]), &requester(), now);
    let now = clock.now();
    let permit = take(now).expect("room and share");
    for _ in 0..5 {
        assert!(
            matches!(take(now), Err(Exhausted::Budget { .. })),
            "slots are asked first, and cost no share"
        );
    }
    drop(permit);
    for _ in 0..5 {
        drop(take(now).expect("a refund costs no share"));
    }
    let one_of_many = &budgets.open(&key("b"), BudgetName::Push, size(9, hour), HORIZON);
    let mut permits = Vec::new();
    let refusal = loop {
        match super::take(&budget_set(&[one_of_many]), &requester(), now) {
            Ok(permit) => permits.push(permit),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(permits.len(), 2);
    assert!(matches!(refusal, Exhausted::Quota { limit: 2, .. }));
    for permit in permits {
        permit.abandon(now + HORIZON.attempt);
    }
    assert!(
        super::take(&budget_set(&[one_of_many]), &requester(), now + refusal.wait()).is_ok(),
        "true for a lone caller"
    );
}

#[test]
fn no_window_has_more_calls_of_a_caller_than_its_quota() {
    let budgets = Budgets::default();
    let budget = &budgets.open(&key("a"), BudgetName::Push, size(1000, Duration::from_mins(1)), HORIZON);
    for burst in [None, NonZeroU32::new(3)] {
        let limit = BudgetLimit { burst, ..size(20, Duration::from_mins(1)) };
        let quota = Some(Arc::new(Quota::new(limit, HORIZON)));
        let requester = Requester { quota, ..Requester::of(CallerNumber(1)) };
        // Tries every 250 ms, and is answered 100 ms later, or 2 s later every fifth time.
        let (mut counted, mut under_way) = (Vec::new(), Vec::new());
        for tick in 0..2_000_u64 {
            let now = seconds(60) + Duration::from_millis(250) * u32::try_from(tick).expect("small");
            let (over, rest): (Vec<_>, Vec<_>) = under_way.into_iter().partition(|(end, _)| *end <= now);
            for (end, permit) in over {
                Permit::settle(permit, end, RateHeaders::default());
            }
            under_way = rest;
            if let Ok(permit) = take(&budget_set(&[budget]), &requester, now) {
                let took = Duration::from_millis(if tick % 5 == 0 { 2000 } else { 100 });
                counted.push(now + took);
                under_way.push((now + took, permit));
            }
        }
        counted.sort();
        let most = counted.iter().map(|first| {
            counted.iter().filter(|call| (*first..*first + limit.window).contains(call)).count()
        });
        assert_eq!(most.max(), Some(20), "{burst:?}");
        assert!(counted.len() > 150, "{} calls in 500 s with {burst:?}", counted.len());
    }
}

#[test]
fn pacing_refuses_without_cost() {
    let (budgets, clock) = (Budgets::default(), Clock::start());
    let minute = Duration::from_mins(1);
    let paced = BudgetLimit { burst: NonZeroU32::new(2), ..size(60, minute) };
    let budget = &budgets.open(&key("a"), BudgetName::Push, paced, HORIZON);
    let quota = Arc::new(Quota::new(size(4, minute), HORIZON));
    let requester = || Requester { quota: Some(Arc::clone(&quota)), ..Requester::of(CallerNumber(1)) };
    let now = clock.now();
    let take = |now| take(&budget_set(&[budget]), &requester(), now);
    let _two = [take(now).expect("burst"), take(now).expect("burst")];
    let refusals: Vec<_> = (0..5).map(|_| take(now).err().expect("paced")).collect();
    assert!(
        matches!(refusals[4], Exhausted::Budget { wait, .. } if wait <= Duration::from_secs(1) + Timestamp::TICK)
    );
    let later = now + refusals[4].wait();
    let _third = take(later).expect("one second later");
    let _fourth = take(later + Duration::from_secs(1)).expect("the five refusals cost no share");
}

/// Applies an answer with these rate headers to a call at `now`, and leaves its slot as it is.
fn apply_answer(budget: &Arc<Budget>, call: u64, now: Timestamp, rate_headers: RateHeaders) {
    let mut inner = lock(&budget.inner);
    let answered = Answered { call, earlier: 0, used: inner.window.used() };
    let (last, window) = (inner.vendor_limit, inner.rule.length);
    inner.vendor_limit = VendorLimit::apply(last, rate_headers, answered, window, now);
}

fn rate_headers(limit: u32, remaining: u32, reset_seconds: u64) -> RateHeaders {
    let reset = Some(Duration::from_secs(reset_seconds));
    RateHeaders { limit: Some(limit), remaining: Some(remaining), reset, refused: false }
}

#[test]
fn the_vendors_word_counts_downwards_only_and_until_its_reset() {
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(10, Duration::from_mins(1)), HORIZON);
    let remaining = |now| budget.status(now).remaining;
    for _ in 0..3 {
        take_at(budget, seconds(0)).expect("room");
    }
    apply_answer(budget, 1, seconds(1), rate_headers(10, 9, 59));
    assert_eq!(remaining(seconds(1)), 7, "nine free less two dispatched since is no less than ours");
    apply_answer(budget, 2, seconds(2), rate_headers(10, 4, 30));
    assert_eq!(remaining(seconds(2)), 3, "four free, one dispatched since");
    assert_eq!(budget.status(seconds(2)).foreign, 3, "six counted, three of them ours");
    apply_answer(budget, 1, seconds(3), rate_headers(10, 9, 59));
    assert_eq!(remaining(seconds(3)), 3, "an older answer is no news");
    assert_eq!(remaining(seconds(31)), 3);
    assert_eq!(remaining(seconds(32)), 7, "until its reset only");
    apply_answer(budget, 3, seconds(33), rate_headers(600, 599, 60));
    assert_eq!(remaining(seconds(33)), 7, "a higher limit is only reported");
    assert_eq!(budget.status(seconds(33)).vendor_limit, Some(600));
}

#[test]
fn a_lower_limit_of_the_vendors_is_used() {
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(10, Duration::from_mins(1)), HORIZON);
    take_at(budget, seconds(0)).expect("room");
    apply_answer(budget, 1, seconds(1), RateHeaders { limit: Some(3), ..RateHeaders::default() });
    assert_eq!(budget.status(seconds(1)).remaining, 2);
}

#[test]
fn a_429_spends_the_budget_until_its_reset_and_never_freezes_it() {
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(10, Duration::from_mins(1)), HORIZON);
    let refused = |reset| RateHeaders { refused: true, reset, ..RateHeaders::default() };
    take_at(budget, seconds(0)).expect("room");
    apply_answer(budget, 1, seconds(1), refused(Some(Duration::from_secs(20))));
    let refusal = take_at(budget, seconds(2)).expect_err("spent");
    assert_eq!(refusal.wait(), Duration::from_secs(19) + Timestamp::TICK);
    take_at(budget, seconds(2) + refusal.wait()).expect("a lone caller that waits is admitted");
    apply_answer(budget, 2, seconds(30), refused(None));
    assert!(take_at(budget, seconds(30)).is_err(), "a short back-off");
    take_at(budget, seconds(31)).expect("and no more");
    apply_answer(budget, 3, seconds(40), refused(Some(Duration::from_hours(24))));
    take_at(budget, seconds(101)).expect("at most one window ahead");
    apply_answer(budget, 4, seconds(110), refused(Some(Duration::ZERO)));
    assert!(take_at(budget, seconds(110)).is_err(), "a reset of 0 means less than a second, not none");
    take_at(budget, seconds(111)).expect("but a second later");
}

#[test]
fn what_is_used_up_stays_so_until_the_latest_reset() {
    let left = |remaining, reset| RateHeaders {
        remaining: Some(remaining),
        reset: Some(Duration::from_secs(reset)),
        ..RateHeaders::default()
    };
    let refused = |reset: Option<u64>| RateHeaders {
        reset: reset.map(Duration::from_secs),
        refused: true,
        ..RateHeaders::default()
    };
    let limit = |limit| RateHeaders { limit: Some(limit), ..RateHeaders::default() };
    // Two answers, one second apart, and the second at which a call is admitted again.
    let rows = [
        (refused(Some(8)), refused(None), 9),
        (refused(Some(8)), refused(Some(2)), 9),
        (refused(Some(2)), refused(Some(8)), 10),
        (refused(Some(8)), left(0, 2), 9),
        (left(0, 8), left(0, 2), 9),
        (left(0, 8), refused(None), 9),
        (left(0, 8), limit(10), 9),
        (left(0, 8), RateHeaders::default(), 9),
        (left(5, 8), refused(None), 3),
        (left(0, 8), left(1, 8), 2),
    ];
    for (first, second, admitted) in rows {
        let budget =
            &Budgets::default().open(&key("a"), BudgetName::Push, size(10, Duration::from_mins(1)), HORIZON);
        for (call, headers) in [(1, first), (2, second)] {
            lock(&budget.inner).dispatched = call;
            apply_answer(budget, call, seconds(call), headers);
        }
        let is_free = |second: u64| budget.status(seconds(second)).remaining > 0;
        assert!(is_free(admitted), "{first:?} {second:?}");
        assert!((2..admitted).all(|second| !is_free(second)), "{first:?} {second:?}");
    }
}

#[test]
fn calls_before_an_answer_may_be_counted_after_it() {
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(100, Duration::from_mins(1)), HORIZON);
    let left = |remaining| rate_headers(100, remaining, 60);
    let remaining = |now| budget.status(now).remaining;
    let requester = Requester::of(CallerNumber(0));
    let take = || take(&budget_set(&[budget]), &requester, seconds(0)).ok();
    let mut permits = [(); 5].map(|()| take());
    let settle =
        |permit: &mut Option<Permit>, now, headers| permit.take().expect("room").settle(now, headers);
    settle(&mut permits[3], seconds(1), left(40));
    assert_eq!(remaining(seconds(1)), 36, "three before it and one after it");
    settle(&mut permits[0], seconds(2), left(41));
    assert_eq!(remaining(seconds(2)), 37, "the vendor counted this one before");
    settle(&mut permits[1], seconds(2), left(39));
    assert_eq!(remaining(seconds(2)), 37, "and this one after");
    drop(permits[2].take());
    assert_eq!(remaining(seconds(3)), 38, "of this one nothing was written");
    settle(&mut permits[4], seconds(4), left(38));
    assert_eq!(remaining(seconds(4)), 38, "all are answered");
    assert!(lock(&budget.inner).unanswered.is_empty());
}

/// Decides on a call with a wait limit, at a time given by the test.
fn ask(budget: &Arc<Budget>, caller: u32, ticket: Option<Box<QueueTicket>>, now: Timestamp) -> Decision {
    let caller = CallerNumber(caller);
    let requester = Requester::of(caller);
    decide(&budget_set(&[budget]), &requester, now, ticket, WaitLimit::Until(now + Duration::from_secs(10)))
}

#[test]
fn who_waits_is_served_in_turn_and_who_comes_later_does_not_overtake() {
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(1, Duration::from_secs(5)), HORIZON);
    take_at(budget, seconds(0)).expect("room");
    lock(&budget.inner).window.settle(seconds(1), CallerNumber(0));
    let Decision::Wait { ticket: first, look_at } = ask(budget, 1, None, seconds(2)) else { panic!("waits") };
    assert_eq!(look_at, Some(seconds(6) + Timestamp::TICK), "when the slot frees, and not before");
    let Decision::Wait { ticket: second, look_at } = ask(budget, 2, None, seconds(2)) else {
        panic!("waits")
    };
    assert_eq!(look_at, None, "another waiter is before it");
    assert_eq!(budget.status(seconds(2)).waiting, 2);
    let later = seconds(6) + Timestamp::TICK;
    let newcomer = take(&budget_set(&[budget]), &Requester::of(CallerNumber(3)), later);
    assert!(newcomer.is_err(), "a free slot belongs to the waiter");
    let Decision::Wait { ticket: second, .. } = ask(budget, 2, Some(second), later) else {
        panic!("not its turn")
    };
    let Decision::Paid(permit) = ask(budget, 1, Some(first), later) else { panic!("its turn") };
    assert_eq!(budget.status(later).waiting, 1);
    drop(permit);
    assert!(
        second.wakeup().poll(&std::task::Context::from_waker(std::task::Waker::noop())).is_ready(),
        "it is woken"
    );
    assert!(matches!(ask(budget, 2, Some(second), later), Decision::Paid(_)));
}

#[test]
fn who_cannot_be_served_in_time_is_refused_at_once_and_who_leaves_makes_room() {
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(1, Duration::from_secs(8)), HORIZON);
    take_at(budget, seconds(0)).expect("room");
    lock(&budget.inner).window.settle(seconds(0), CallerNumber(0));
    let Decision::Wait { ticket, .. } = ask(budget, 1, None, seconds(1)) else { panic!("waits") };
    assert!(
        matches!(ask(budget, 2, None, seconds(1)), Decision::Refused(_)),
        "the next slot is the other's, and the one after it frees too late"
    );
    drop(ticket);
    assert_eq!(budget.status(seconds(1)).waiting, 0);
    assert!(matches!(ask(budget, 2, None, seconds(1)), Decision::Wait { .. }));
}

/// Few slots are in use while calls wait for pacing: what is free serves them too, and is soon free again.
#[test]
fn who_waits_for_pacing_is_not_refused_for_want_of_slots() {
    let size = BudgetLimit { burst: NonZeroU32::new(2), ..size(10, Duration::from_secs(1)) };
    let budget = &Budgets::default().open(&key("a"), BudgetName::Push, size, HORIZON);
    let now = seconds(1);
    let ask = |caller| {
        let caller = CallerNumber(caller);
        let requester = Requester { caller, ..anyone() };
        decide(&budget_set(&[budget]), &requester, now, None, WaitLimit::Until(now + Duration::from_secs(12)))
    };
    let _paid = [1, 2].map(|caller| match ask(caller) {
        Decision::Paid(permit) => permit,
        Decision::Wait { .. } | Decision::Refused(_) => panic!("within the burst"),
    });
    let _tickets: Vec<_> = (3..43)
        .map(|caller| match ask(caller) {
            Decision::Wait { ticket, .. } => ticket,
            Decision::Paid(_) => panic!("{caller} passes the pacing"),
            Decision::Refused(exhausted) => panic!("{caller} would be served within 5 s: {exhausted}"),
        })
        .collect();
}

#[test]
fn a_caller_over_its_quota_waits_without_holding_up_the_others() {
    let clock = Clock::start();
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(9, Duration::from_mins(1)), HORIZON);
    let quota = Arc::new(Quota::new(size(1, Duration::from_secs(4)), HORIZON));
    let greedy = Requester { quota: Some(quota), ..Requester::of(CallerNumber(1)) };
    let now = clock.now();
    let ask = |ticket, now| {
        decide(&budget_set(&[budget]), &greedy, now, ticket, WaitLimit::Until(now + Duration::from_secs(9)))
    };
    let Decision::Paid(first) = ask(None, now) else { panic!("its share") };
    first.settle(now, RateHeaders::default());
    let Decision::Wait { ticket, look_at } = ask(None, now) else { panic!("over its share") };
    let others = take(&budget_set(&[budget]), &Requester::of(CallerNumber(2)), now);
    assert!(others.is_ok(), "the budget has room");
    let at = look_at.expect("no waiter is before it");
    assert!(matches!(ask(Some(ticket), at), Decision::Paid(_)));
}

/// Makes a call that is answered at once, if it gets a slot.
fn call(budget: &Arc<Budget>, caller: u32, now: Timestamp) -> Result<(), Exhausted> {
    let caller = CallerNumber(caller);
    let requester = Requester::of(caller);
    take(&budget_set(&[budget]), &requester, now).map(|permit| permit.settle(now, RateHeaders::default()))
}

#[test]
fn a_reserve_is_lent_while_idle_and_taken_back_when_its_owner_comes() {
    let minute = Duration::from_mins(1);
    let budget = &Budgets::default().open(&key("a"), BudgetName::Push, size(4, minute), HORIZON);
    let (owner, other) = (1, 2);
    budget.keep(&[(CallerNumber(owner), 2)]);
    for _ in 0..4 {
        call(budget, other, seconds(0)).expect("lent: its owner is idle");
    }
    call(budget, owner, seconds(50)).expect_err("all of them are out");
    assert_eq!(budget.status(seconds(61)).remaining, 4);
    assert_eq!(
        budget.status_for(CallerNumber(other), seconds(61)).remaining,
        2,
        "two are kept: its owner has asked"
    );
    for _ in 0..2 {
        call(budget, other, seconds(61)).expect("not kept");
    }
    let refusal = call(budget, other, seconds(61)).expect_err("kept");
    for _ in 0..2 {
        call(budget, owner, seconds(62)).expect("kept for it");
    }
    call(budget, owner, seconds(62)).expect_err("no more than the budget");
    assert_eq!(
        refusal.wait(),
        Duration::from_secs(49) + Timestamp::TICK,
        "lent again one window after it asked"
    );
    call(budget, other, seconds(122)).expect("what is not kept is anybody's");
    assert_eq!(budget.status_for(CallerNumber(owner), seconds(123)).remaining, 3);
}

#[test]
fn an_owner_with_calls_left_goes_before_those_who_wait() {
    let budget =
        &Budgets::default().open(&key("a"), BudgetName::Push, size(2, Duration::from_secs(5)), HORIZON);
    budget.keep(&[(CallerNumber(7), 1)]);
    for now in [0, 1] {
        call(budget, 2, seconds(now)).expect("lent");
    }
    let Decision::Wait { ticket: other, .. } = ask(budget, 2, None, seconds(2)) else { panic!("waits") };
    let Decision::Wait { ticket: owner, look_at } = ask(budget, 7, None, seconds(3)) else { panic!("waits") };
    assert_eq!(look_at, Some(seconds(5) + Timestamp::TICK), "the next slot that frees is its own");
    let now = seconds(5) + Timestamp::TICK;
    let Decision::Wait { ticket: other, .. } = ask(budget, 2, Some(other), now) else {
        panic!("not its turn")
    };
    let Decision::Paid(_permit) = ask(budget, 7, Some(owner), now) else { panic!("its turn") };
    let later = seconds(6) + Timestamp::TICK;
    let Decision::Paid(_) = ask(budget, 2, Some(other), later) else { panic!("the reserve is met") };
}

/// The simulated vendor's treatment of one call: when it counts the call, and when its answer arrives, in milliseconds.
#[derive(Clone, Debug)]
struct Call {
    gap: u64,
    counted_after: u64,
    answered_after: u64,
    lost: bool,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call =
        (0u64..800, 0u64..5_000, 0u64..5_000, prop::bool::weighted(0.1)).prop_map(|(gap, one, two, lost)| {
            Call { gap, counted_after: one.min(two), answered_after: one.max(two), lost }
        });
    prop::collection::vec(call, 1..400)
}

proptest! {
    /// The central law: whatever the latencies, the vendor counts no more than the limit in any window, wherever it
    /// starts. Fixed windows of any phase are among the windows tested.
    #[test]
    fn the_vendor_never_counts_too_many(calls in calls(), limit in 1u32..30, window_ms in 1_000u64..20_000, guard_ms in 0u64..5_000) {
        let horizon = Horizon { guard: Duration::from_millis(guard_ms), attempt: Duration::from_secs(28) };
        let budget = &Budgets::default().open(&key("a"), BudgetName::Push, size(limit, Duration::from_millis(window_ms)), horizon);
        let at = |ms: u64| Timestamp::after_start(Duration::from_millis(ms));
        let mut ends: Vec<(u64, bool)> = Vec::new();
        let mut counted = Vec::new();
        let (mut now, mut taken) = (0, 0);
        for call in &calls {
            now += call.gap;
            ends.sort_unstable();
            let due = ends.iter().take_while(|(end, _)| *end <= now).count();
            for (end, lost) in ends.drain(..due) {
                let window = &mut lock(&budget.inner).window;
                if lost { window.abandon(at(end), CallerNumber(0)) } else { window.settle(at(end), CallerNumber(0)) }
            }
            if take_at(budget, at(now)).is_ok() {
                taken += 1;
                ends.push((now + call.answered_after, call.lost));
                // The vendor may count an attempt that was given up as late as the guard allows.
                let counted_after = if call.lost { call.answered_after + guard_ms } else { call.counted_after };
                counted.push(now + counted_after);
            }
        }
        counted.sort_unstable();
        for (first, start) in counted.iter().enumerate() {
            let in_window = counted[first..].iter().take_while(|time| **time - start < window_ms).count();
            prop_assert!(in_window <= limit as usize, "{in_window} of {limit} counted in the window from {start} ms");
        }
        prop_assert!(taken > 0);
    }
}
