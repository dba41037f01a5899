//! The list of replicas in the store: whether this one may use its own parts of the budgets, or has to wait until those of
//! a former process are over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;

use super::current::CurrentServers;
use super::micros;
use super::scripts::Scripts;
use crate::budget::OwnParts;

/// For how long after the start the store is asked again before the own parts are used without its word: one late answer
/// says nothing about who ran before.
const ASK_AGAIN_FOR: Duration = Duration::from_secs(1);
/// The key of the list.
const REPLICAS_KEY: &str = "jpush-gateway:replicas";

pub(super) struct ReplicaList {
    scripts: Arc<Scripts>,
    own_parts: Arc<OwnParts>,
    process: String,
    /// How many replicas run at most.
    replicas: u32,
    start: Instant,
    /// Whether the store was reached, or asked in vain for long enough.
    is_settled: bool,
    /// Whether it has to wait.
    waits: bool,
}

/// Whether a replica is there or ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Stays,
    Ends,
}

impl ReplicaList {
    pub(super) fn new(
        scripts: &Arc<Scripts>,
        own_parts: &Arc<OwnParts>,
        process: &str,
        replicas: u32,
    ) -> Self {
        let (scripts, own_parts) = (Arc::clone(scripts), Arc::clone(own_parts));
        Self {
            scripts,
            own_parts,
            process: process.to_owned(),
            replicas,
            start: Instant::now(),
            is_settled: false,
            waits: false,
        }
    }

    /// Tells the store that this replica is there, and opens its own parts when it may use them. Returns whether that is
    /// known.
    pub(super) async fn look(&mut self, current: &CurrentServers) -> bool {
        let told = self.tell(current, Presence::Stays).await;
        self.is_settled |= matches!(told, Some(Ok(_))) || self.start.elapsed() >= ASK_AGAIN_FOR;
        match told {
            Some(Ok(span)) => {
                match u64::try_from(span) {
                    Ok(span) => self.own_parts.open_below(Duration::from_micros(span)),
                    Err(_) => self.own_parts.open_all(),
                }
                let are_open = self.own_parts.are_open();
                if are_open && self.waits {
                    tracing::info!("the own parts of this replica are used");
                } else if !are_open && !self.waits {
                    tracing::warn!(
                        "the own parts of this replica are not used yet: as many replicas as there may be run, or ended a short time ago"
                    );
                }
                self.waits = !are_open;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the list of replicas cannot be read");
                self.cannot_tell();
            }
            None => self.cannot_tell(),
        }
        self.is_settled
    }

    /// Without the store nobody can tell what a former process left behind, and the own part is all that a replica has. One
    /// that was told to wait does so until whatever was taken before its start is over.
    fn cannot_tell(&self) {
        if !self.is_settled {
            return;
        }
        if self.waits {
            self.own_parts.open_below(self.start.elapsed());
        } else {
            self.own_parts.open_all();
        }
    }

    /// Tells the store that this replica ended.
    pub(super) async fn leave(&self, current: &CurrentServers) {
        // A replica that is not seen any more counts as ended some seconds later.
        if let Some(Err(error)) = self.tell(current, Presence::Ends).await {
            tracing::debug!(%error, "the store was not told that this replica ends");
        }
    }

    async fn tell(&self, current: &CurrentServers, presence: Presence) -> Option<RedisResult<i64>> {
        let link = current.link(REPLICAS_KEY)?;
        let mut invocation = self.scripts.replicas.prepare_invoke();
        invocation.key(REPLICAS_KEY).arg(&self.process).arg(self.replicas);
        invocation.arg(micros(self.own_parts.longest())).arg(u8::from(presence == Presence::Ends));
        Some(invocation.invoke_async(&mut link.connection.clone()).await)
    }
}
