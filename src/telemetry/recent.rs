//! The refusals of the last hour: the latest one by one, and all of them in groups.
//!
//! Requests without good credentials are counted together: whatever strangers send, it pushes nothing else out.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::SystemTime;

use serde::Serialize;

use super::history::{MINUTES, minute, place};
use crate::lock::lock;

/// Refusals of callers that are kept one by one, and of strangers.
const KEPT: usize = 50;
const KEPT_OF_STRANGERS: usize = 10;
/// Groups that are kept; the one that was added to longest ago makes place for a new one.
const GROUPS_MAX: usize = 500;
/// Characters of a group's message.
const MESSAGE_MAX: usize = 300;

/// One refusal. The request's id is the only value that came from the request.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedCall {
    /// The time in RFC 3339 form.
    pub time: String,
    /// The id of the refused request.
    pub request_id: String,
    /// The stable reason, as in `X-JPush-Gateway-Reason`.
    pub reason: &'static str,
    /// HTTP status of the answer.
    pub status: u16,
    /// The operation, if it was known.
    pub operation: Option<&'static str>,
    /// The tenant, if it was known.
    pub tenant: Option<String>,
    /// The caller, if it was known.
    pub caller: Option<String>,
    /// The body rule that was broken, if one was.
    pub rule: Option<&'static str>,
}

/// What the refusals of one group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    caller: Option<String>,
    tenant: Option<String>,
    reason: &'static str,
    rule: Option<&'static str>,
    operation: Option<&'static str>,
}

struct Group {
    counts: [u32; MINUTES],
    /// The minute since 1970 up to which the counts are right.
    minute: u64,
    first: SystemTime,
    last: SystemTime,
    request_id: String,
    message: String,
}

/// The refusals of the last hour that have the same caller, tenant, reason, rule and operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalGroup {
    /// `None`: requests without good credentials.
    pub caller: Option<String>,
    /// The tenant, if it was known.
    pub tenant: Option<String>,
    /// The stable reason, as in `X-JPush-Gateway-Reason`.
    pub reason: &'static str,
    /// The body rule that was broken, if one was.
    pub rule: Option<&'static str>,
    /// The operation, if it was known.
    pub operation: Option<&'static str>,
    /// Refusals in the last hour.
    pub count: u32,
    /// The time of the first one, in RFC 3339 form; it may be longer ago.
    pub since: String,
    /// The time of the last one.
    pub last: String,
    /// The id of the last one.
    pub request_id: String,
    /// The message of the first one.
    pub message: String,
}

/// The refusals of the last hour.
#[derive(Default)]
pub struct RecentRefusals(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    of_callers: VecDeque<RefusedCall>,
    of_strangers: VecDeque<RefusedCall>,
    groups: HashMap<GroupKey, Group>,
}

impl RecentRefusals {
    /// Adds a refusal. `message` is called only for the first one of its group.
    pub fn push(&self, now: SystemTime, refused: RefusedCall, message: impl FnOnce() -> String) {
        let recent = &mut *lock(&self.0);
        recent.group(now, &refused, message);
        let (ring, kept) = match refused.caller {
            Some(_) => (&mut recent.of_callers, KEPT),
            None => (&mut recent.of_strangers, KEPT_OF_STRANGERS),
        };
        if ring.len() == kept {
            ring.pop_front();
        }
        ring.push_back(refused);
    }

    /// The latest refusals, the last one first.
    pub fn list(&self) -> Vec<RefusedCall> {
        let recent = lock(&self.0);
        let mut all: Vec<_> = recent.of_callers.iter().chain(&recent.of_strangers).cloned().collect();
        all.sort_by(|a, b| b.time.cmp(&a.time));
        all
    }

    /// The groups of the last hour, the one with most refusals first.
    pub fn groups(&self, now: SystemTime) -> Vec<RefusalGroup> {
        let recent = &mut *lock(&self.0);
        recent.groups.retain(|_, group| group.roll(now) > 0);
        let mut groups: Vec<_> =
            recent.groups.iter_mut().map(|(key, group)| group.report(key, now)).collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| b.last.cmp(&a.last)));
        groups
    }
}

impl Recent {
    fn group(&mut self, now: SystemTime, refused: &RefusedCall, message: impl FnOnce() -> String) {
        let is_known = refused.caller.is_some();
        let key = GroupKey {
            caller: refused.caller.clone(),
            tenant: refused.tenant.clone().filter(|_| is_known),
            reason: refused.reason,
            rule: refused.rule.filter(|_| is_known),
            operation: refused.operation.filter(|_| is_known),
        };
        if self.groups.len() == GROUPS_MAX && !self.groups.contains_key(&key) {
            let oldest = self.groups.iter().min_by_key(|(_, group)| group.last).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.groups.remove(&oldest));
        }
        let group = self.groups.entry(key).or_insert_with(|| Group {
            counts: [0; MINUTES],
            minute: minute(now),
            first: now,
            last: now,
            request_id: String::new(),
            message: message().chars().take(MESSAGE_MAX).collect(),
        });
        group.roll(now);
        let counter = &mut group.counts[place(minute(now))];
        *counter = counter.saturating_add(1);
        group.last = now;
        group.request_id.clone_from(&refused.request_id);
    }
}

impl Group {
    /// Forgets minutes that are over, and returns the sum of the others.
    fn roll(&mut self, now: SystemTime) -> u32 {
        let now = minute(now);
        for over in (self.minute + 1..=now).take(MINUTES) {
            self.counts[place(over)] = 0;
        }
        self.minute = self.minute.max(now);
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn report(&mut self, key: &GroupKey, now: SystemTime) -> RefusalGroup {
        let time = |time| humantime::format_rfc3339_seconds(time).to_string();
        let GroupKey { caller, tenant, reason, rule, operation } = key.clone();
        RefusalGroup {
            caller,
            tenant,
            reason,
            rule,
            operation,
            count: self.roll(now),
            since: time(self.first),
            last: time(self.last),
            request_id: self.request_id.clone(),
            message: self.message.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refused(caller: Option<&str>, id: &str) -> RefusedCall {
        RefusedCall {
            time: id.to_owned(),
            request_id: id.to_owned(),
            reason: "forbidden",
            status: 403,
            operation: Some("push"),
            tenant: caller.map(|_| "shop".to_owned()),
            caller: caller.map(str::to_owned),
            rule: None,
        }
    }

    #[test]
    fn strangers_push_nothing_out() {
        let (recent, now) =
            (RecentRefusals::default(), SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        recent.push(now, refused(Some("orders"), "0000"), || "no".into());
        for number in 1..=1000 {
            recent.push(now, refused(None, &format!("{number:04}")), || "who".into());
        }
        let list = recent.list();
        assert_eq!(
            (list.len(), list[0].request_id.as_str(), list[10].request_id.as_str()),
            (11, "1000", "0000")
        );
        let groups = recent.groups(now);
        let shown: Vec<_> = groups.iter().map(|group| (group.caller.as_deref(), group.count)).collect();
        assert_eq!(shown, [(None, 1000), (Some("orders"), 1)]);
        assert_eq!((groups[0].operation, &*groups[0].request_id, &*groups[1].message), (None, "1000", "no"));
    }

    #[test]
    fn groups_are_of_the_last_hour_and_bounded() {
        let (recent, start) =
            (RecentRefusals::default(), SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let at = |minutes| start + Duration::from_mins(minutes);
        for minutes in [0, 1, 30] {
            recent.push(at(minutes), refused(Some("orders"), "a"), String::new);
        }
        let count = |minutes| recent.groups(at(minutes)).first().map(|group| group.count);
        assert_eq!([59, 60, 61, 89, 90].map(count), [Some(3), Some(2), Some(1), Some(1), None]);
        for number in 0..2 * GROUPS_MAX {
            recent.push(at(90), refused(Some(&number.to_string()), "b"), || "x".repeat(1000));
        }
        let groups = recent.groups(at(90));
        assert_eq!((groups.len(), groups[0].message.len()), (GROUPS_MAX, MESSAGE_MAX));
    }
}
