//! Budgets with a part in the store, tested without a store.

use super::*;

/// A budget of five calls in three seconds, all of it in the store but `local_percent`.
fn shared(local_percent: u8) -> Arc<Budget> {
    let shares = Shares { local_percent, replicas: NonZeroU32::MIN };
    let budgets = Budgets::shared(Some(shares));
    budgets.own_parts().open_all();
    budgets.open(&key("a"), BudgetName::Push, size(5, Duration::from_secs(3)), HORIZON)
}

fn refusal(budget: &Arc<Budget>, now: Timestamp) -> Exhausted {
    match decide(&budget_set(&[budget]), &anyone(), now, None, WaitLimit::None) {
        Decision::Refused(refusal) => refusal,
        Decision::Paid(_) | Decision::Wait { .. } => panic!("nothing is free"),
    }
}

#[test]
fn without_a_part_of_its_own_a_call_that_the_store_did_not_answer_comes_again_soon() {
    let budget = &shared(0);
    assert!(refusal(budget, seconds(0)).wait() <= Duration::from_secs(1), "no answer of the store yet");
    let next = seconds(60);
    apply_store_status(&budget_set(&[budget]), &[StoreStatus { free: 0, next, held_back: false }]);
    assert_eq!(refusal(budget, seconds(1)).wait(), Duration::from_secs(59), "the store's own time");
    apply_store_status(&budget_set(&[budget]), &[]);
    assert!(refusal(budget, seconds(2)).wait() <= Duration::from_secs(1), "away for a moment, or for long");
}

#[test]
fn with_a_part_of_its_own_it_waits_for_that() {
    let budget = &shared(20);
    take_at(budget, seconds(0)).expect("room");
    lock(&budget.inner).window.settle(seconds(1), CallerNumber(0));
    apply_store_status(&budget_set(&[budget]), &[]);
    assert_eq!(refusal(budget, seconds(2)).wait(), Duration::from_secs(2) + Timestamp::TICK);
}
