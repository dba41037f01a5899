//! The list of replicas in the store: whether this one may use its own parts of the budgets, or has to wait until those of
//! a former process are over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;

use super::current::CurrentServers;
use super::micros;
use super::scripts::Scripts;
use crate::budget::OwnParts;

/// The key of the list.
const REPLICAS_KEY: &str = "jpush-gateway:replicas";

pub(super) struct ReplicaList {
    scripts: Arc<Scripts>,
    own_parts: Arc<OwnParts>,
    process: String,
    /// How many replicas run at most.
    replicas: u32,
    start: Instant,
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
            waits: false,
        }
    }

    /// Tells the store that this replica is there, and opens its own parts when it may use them.
    pub(super) async fn look(&mut self, current: &CurrentServers) {
        match self.tell(current, Presence::Stays).await {
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
    }

    /// Without the store nobody can tell what a former process left behind, and the own part is all that a replica has. One
    /// that was told to wait does so until whatever was taken before its start is over.
    fn cannot_tell(&self) {
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
