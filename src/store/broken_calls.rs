//! Calls whose caller's connection broke, for all replicas: clients repeat them at once, at any of them.
//!
//! The break and the end of the call are told without waiting. A replica looks for a break beside the round trip that
//! pays, so that it costs no time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{SharedClaim, Store, micros, slot_name, spawn};
use crate::stored_call::ClaimEnd;

/// A call as the replicas know it, should its caller's connection break.
pub struct BreakableCall {
    store: Arc<Store>,
    key: Arc<str>,
    /// The time after a break during which the same call is a repeat.
    window: Duration,
    /// The time after which a call that did not end is given up.
    longest: Duration,
}

/// What the store knows of a broken call.
pub enum BrokenCall {
    /// It is under way.
    UnderWay,
    /// It was answered.
    Answered(Vec<u8>),
    /// It may have been delivered.
    Lost,
}

impl BreakableCall {
    /// The call with this digest.
    pub fn new(store: &Arc<Store>, digest: &str, window: Duration, longest: Duration) -> Self {
        let key = format!("jpush-gateway:broken:{digest}").into();
        Self { store: Arc::clone(store), key, window, longest }
    }

    /// Finds the same call if its caller's connection broke within the window. `None` also if the store does not answer.
    pub async fn find(&self) -> Option<BrokenCall> {
        self.look(self.window, Duration::ZERO).await?
    }

    /// Looks again for a call that was found. `None`: it had no effect.
    pub async fn look_again(&self) -> Option<BrokenCall> {
        // What cannot be known any more may have been delivered.
        self.look(self.life(), Duration::ZERO).await.unwrap_or(Some(BrokenCall::Lost))
    }

    /// Records that the connection broke; `ended` is the end of the call.
    pub fn broke(self: &Arc<Self>, ended: impl Future<Output = ClaimEnd> + Send + 'static) {
        let call = Arc::clone(self);
        spawn(async move {
            let store = &call.store;
            let Some(link) = store.current.link(&call.key) else { return };
            let by = slot_name(&store.process, store.next.fetch_add(1, Ordering::Relaxed));
            let mut invocation = store.scripts.broke.prepare_invoke();
            invocation.key(&*call.key).arg(&by).arg(micros(call.life()) / 1000);
            if store.invoke::<i64>(&link, &call.key, &invocation).await.is_some() {
                SharedClaim::made(store, &call.key, by).end(ended.await);
            }
        });
    }

    /// Records that the connection of a repeat broke as well, while it waited for the call's end.
    pub fn broke_again(self: &Arc<Self>) {
        let call = Arc::clone(self);
        spawn(async move {
            let _ = call.look(call.life(), call.life()).await;
        });
    }

    fn life(&self) -> Duration {
        self.window + self.longest
    }

    /// Looks for the call; the outer `None`: the store does not answer, or the break was longer ago than `within`.
    async fn look(&self, within: Duration, lives: Duration) -> Option<Option<BrokenCall>> {
        let link = self.store.current.link(&self.key)?;
        let mut invocation = self.store.scripts.find_broken.prepare_invoke();
        invocation.key(&*self.key).arg(micros(within)).arg(micros(self.longest)).arg(micros(lives) / 1000);
        let answer = self.store.invoke::<Vec<redis::Value>>(&link, &self.key, &invocation).await?;
        let mut parts = answer.into_iter();
        let word: String = redis::from_redis_value(parts.next()?).ok()?;
        Some(match &*word {
            "none" => None,
            "claimed" => Some(BrokenCall::UnderWay),
            "answered" => Some(BrokenCall::Answered(redis::from_redis_value(parts.next()?).ok()?)),
            "lost" => Some(BrokenCall::Lost),
            _ => return None,
        })
    }
}
