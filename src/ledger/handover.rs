//! The line of those who wait for the state file: the owner learns that somebody does, and whoever waits learns that
//! the owner leaves.
//!
//! The owner says so in the head of the file, which others can read. Who waits says so by the lock of an empty file
//! beside it, which the kernel takes back when the process is gone; it makes it a shared one once it takes callers.

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

/// How often those who wait look, at the owner and at its file.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the owner waits at its end for the one that waits to take callers.
const TAKES_CALLERS: Duration = Duration::from_secs(1);
/// How long after a failure another try is made to take the file up.
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Ledger {
    /// Takes the file up on a thread of its own once the process that has it gives it away. `take_callers` is called
    /// when that process is about to, or is gone.
    pub fn wait_in_line(
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

    /// Says that the file will be given away soon. If a process waits for it, blocks until that one takes callers;
    /// `false`: nobody does.
    pub fn announce(&self) -> bool {
        if !self.is_owned() {
            return false;
        }
        let is_waited_for = is_waited_for(&self.path);
        if let Some(Err(error)) = self.lock().file.as_mut().map(LockedFile::announce) {
            tracing::warn!(%error, "who waits for the state file cannot be told that it will be free");
            return false;
        }
        if is_waited_for {
            wait_until_left(&self.path, TAKES_CALLERS);
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

    /// Whether the owner says that it leaves.
    pub(super) fn look_at_owner(&self, opened: &Opened) -> bool {
        let Some(head) = opened.head() else { return false };
        self.other.store(head.owner, Ordering::Relaxed);
        head.leaving
    }

    /// Each time anew: whoever had it may have put another file in its place.
    fn open_later(&self, error: &LedgerError) -> Result<Opened, LedgerError> {
        tracing::error!(error = %Causes(error), "the state file cannot be taken up");
        std::thread::sleep(TRY_AGAIN);
        Opened::open(&self.path)
    }
}

/// The place of the next one in line, who alone may take the file. Where its file cannot be made, the owner leaves
/// without a look at who comes, which is safe, but not smooth.
struct HandoverQueue(Option<File>);

impl HandoverQueue {
    /// `None` if another process is the next.
    fn take(state_file: &Path) -> Option<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let locked = options.open(path_of(state_file)).map_err(TryLockError::Error);
        match locked.and_then(|file| file.try_lock().map(|()| file)) {
            Ok(file) => Some(Self(Some(file))),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "the owner of the state file cannot be told that somebody waits for it");
                Some(Self(None))
            }
        }
    }

    /// The owner, which looks for a lock of its own, then sees nobody wait, and others still see the place taken.
    fn show_that_callers_are_taken(&self) {
        let _ = self.0.as_ref().map(File::try_lock_shared);
    }
}

/// Whether somebody stands in line and takes no callers yet.
fn is_waited_for(state_file: &Path) -> bool {
    let Ok(file) = File::open(path_of(state_file)) else { return false };
    // Shared, so that those who only look do not see each other.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Blocks until nobody stands in line, or for so long.
fn wait_until_left(state_file: &Path, longest: Duration) {
    let start = Instant::now();
    while is_waited_for(state_file) && start.elapsed() < longest {
        std::thread::sleep(LOOK_EVERY);
    }
}

fn path_of(state_file: &Path) -> PathBuf {
    let mut name = state_file.as_os_str().to_owned();
    name.push(".next");
    name.into()
}
