//! How far the thread of the connections is, for threads that wait for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::lock::lock;

/// What the thread did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nothing yet.
    #[default]
    Starting,
    /// It found the store for the first time, or looked for it in vain for long enough.
    Looked,
    /// It told the store that this replica ends.
    Left,
}

#[derive(Default)]
pub(super) struct ThreadProgress {
    stage: Mutex<Stage>,
    reached: Condvar,
    /// Asks the thread to tell the store that this replica ends.
    pub(super) leave: Notify,
}

impl ThreadProgress {
    pub(super) fn reach(&self, stage: Stage) {
        let mut reached = lock(&self.stage);
        *reached = stage.max(*reached);
        self.reached.notify_all();
    }

    /// Blocks until the thread is so far, for `longest` at most.
    pub(super) fn wait_for(&self, stage: Stage, longest: Duration) {
        let reached = lock(&self.stage);
        let waited = self.reached.wait_timeout_while(reached, longest, |reached| *reached < stage);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
