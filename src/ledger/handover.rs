//! The handover of the state file between processes. The owner learns that another process waits, and the waiting
//! process learns that the owner is about to leave.
//!
//! The owner announces that in the header of the file, which others can read. A waiting process holds an exclusive lock
//! on an empty file beside the state file; the kernel releases the lock when the process ends. Once it accepts callers,
//! it makes the lock a shared one.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::file::{LockAttempt, LockedFile, Opened};
use super::{Ledger, LedgerError, LedgerPhase};
use crate::budget::Budgets;
use crate::causes::Causes;
use crate::config::{NEXT_SUFFIX, with_suffix};

/// Interval at which a waiting process looks at the owner and at its file.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest time for which a leaving owner waits until its successor accepts callers.
const SUCCESSOR_MAX: Duration = Duration::from_secs(1);
/// Pause after a failure before the next attempt to take the file over.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

impl Ledger {
    /// Waits on a thread of its own until the owner gives the file away, and then takes it over. Calls `take_callers`
    /// when the owner is about to leave, or is gone.
    pub fn wait_for_owner(
        self: &Arc<Self>,
        budgets: &Arc<Budgets>,
        take_callers: impl FnOnce() + Send + 'static,
    ) -> Result<(), LedgerError> {
        if self.phase() != LedgerPhase::Waiting {
            take_callers();
            return Ok(());
        }
        let (waiting, budgets) = (Arc::clone(self), Arc::clone(budgets));
        let thread = std::thread::Builder::new().name("state-file".into());
        let spawned = thread.spawn(move || waiting.wait_for_file(&budgets, take_callers));
        spawned.map(drop).map_err(|source| LedgerError::Io { path: self.path.clone(), source })
    }

    /// Announces that the file will be given away soon. If another process waits for it, blocks until that one accepts
    /// callers, for one second at most. Returns whether one waits.
    pub fn announce(&self) -> bool {
        if !self.is_owned() {
            return false;
        }
        let is_waited_for = is_waited_for(&self.path);
        if let Some(Err(error)) = self.lock().file.as_mut().map(LockedFile::announce) {
            tracing::warn!(%error, "waiting processes cannot be notified that the state file will be free");
            return false;
        }
        if is_waited_for {
            wait_until_left(&self.path, SUCCESSOR_MAX);
        }
        is_waited_for
    }

    fn wait_for_file(&self, budgets: &Budgets, take_callers: impl FnOnce()) {
        let (mut place, mut take_callers) = (None, Some(take_callers));
        let mut opened = Opened::open(&self.path);
        while self.phase() == LedgerPhase::Waiting {
            place = place.or_else(|| HandoverQueue::take(&self.path));
            let is_next = place.is_some();
            let look = if is_next { Opened::try_lock } else { |opened| Ok(LockAttempt::Taken(opened)) };
            let attempt = opened.and_then(look);
            let is_turn = match &attempt {
                Ok(LockAttempt::Taken(opened)) => self.look_at_owner(opened) && is_next,
                Ok(LockAttempt::Locked(_)) => true,
                Err(_) => false,
            };
            if is_turn && let Some(take_callers) = take_callers.take() {
                take_callers();
                place.iter().for_each(HandoverQueue::show_that_callers_are_taken);
            }
            opened = match attempt {
                Ok(LockAttempt::Taken(opened)) => {
                    std::thread::sleep(LOOK_EVERY);
                    Ok(opened)
                }
                Ok(LockAttempt::Locked(locked)) => match self.take_up(locked, budgets) {
                    Ok(()) => return,
                    Err(error) => self.open_later(&error),
                },
                Err(error) => self.open_later(&error),
            };
        }
    }

    /// Records the owner's process id and returns whether the owner has announced that it leaves.
    pub(super) fn look_at_owner(&self, opened: &Opened) -> bool {
        let Some(head) = opened.head() else { return false };
        self.other.store(head.owner, Ordering::Relaxed);
        head.leaving
    }

    /// Opens the file again each time, because its former owner may have replaced it.
    fn open_later(&self, error: &LedgerError) -> Result<Opened, LedgerError> {
        tracing::error!(error = %Causes(error), "the state file cannot be taken over");
        std::thread::sleep(RETRY_PAUSE);
        Opened::open(&self.path)
    }
}

/// The place of the process that is next, which alone may take the file. Without a lock file (`None`) the owner leaves
/// without waiting for a successor: safe, but callers see a short gap.
struct HandoverQueue(Option<File>);

impl HandoverQueue {
    /// Takes the place; `None` if another process has it.
    fn take(state_file: &Path) -> Option<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let locked = options.open(path_of(state_file)).map_err(TryLockError::Error);
        match locked.and_then(|file| file.try_lock().map(|()| file)) {
            Ok(file) => Some(Self(Some(file))),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "the owner of the state file cannot be notified that this process waits for it");
                Some(Self(None))
            }
        }
    }

    /// Turns the lock into a shared one. The owner, which tries a shared lock, then no longer sees a waiting process,
    /// while other processes, which try an exclusive lock, still find the place taken.
    fn show_that_callers_are_taken(&self) {
        let _ = self.0.as_ref().map(File::try_lock_shared);
    }
}

/// Whether a process waits that does not accept callers yet.
fn is_waited_for(state_file: &Path) -> bool {
    let Ok(file) = File::open(path_of(state_file)) else { return false };
    // A shared lock, so that processes that only check do not see each other.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Blocks until no process waits any more, at most for `longest`.
fn wait_until_left(state_file: &Path, longest: Duration) {
    let start = Instant::now();
    while is_waited_for(state_file) && start.elapsed() < longest {
        std::thread::sleep(LOOK_EVERY);
    }
}

fn path_of(state_file: &Path) -> PathBuf {
    with_suffix(state_file, NEXT_SUFFIX)
}
