//! The scripts that a server runs, and the wait for their answers.

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, Script, ScriptInvocation};
use tokio::time::timeout;

use super::link::Link;
use super::{ANSWER_MAX, Store};

pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) note_claim: Script,
    pub(super) broke: Script,
    pub(super) find_broken: Script,
    pub(super) take: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
    pub(super) register: Script,
    pub(super) replicas: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            claim: Script::new(include_str!("claim.lua")),
            note_claim: Script::new(include_str!("note_claim.lua")),
            broke: Script::new(include_str!("broke.lua")),
            find_broken: Script::new(include_str!("find_broken.lua")),
            take: Script::new(include_str!("take.lua")),
            renew: Script::new(include_str!("renew.lua")),
            release: Script::new(include_str!("release.lua")),
            register: Script::new(include_str!("register.lua")),
            replicas: Script::new(include_str!("replicas.lua")),
        }
    }
}

impl Store {
    /// Runs a script; `None`: the store is unavailable, late, or refuses the key.
    pub(super) async fn invoke<T: FromRedisValue>(
        &self,
        link: &Link,
        key: &Arc<str>,
        invocation: &ScriptInvocation<'_>,
    ) -> Option<T> {
        self.invoke_within(ANSWER_MAX, link, key, invocation).await
    }

    /// Runs a script whose answer is worth waiting for longer.
    pub(super) async fn invoke_within<T: FromRedisValue>(
        &self,
        longest: Duration,
        link: &Link,
        key: &Arc<str>,
        invocation: &ScriptInvocation<'_>,
    ) -> Option<T> {
        let mut connection = link.connection.clone();
        match timeout(longest, invocation.invoke_async(&mut connection)).await {
            Ok(Ok(answer)) => {
                link.answered();
                return Some(answer);
            }
            Ok(Err(error)) => self.current.failed(link, key, &error),
            Err(late) => self.current.late(link, &late),
        }
        None
    }
}
