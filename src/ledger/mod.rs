//! The state file: the calls that were dispatched and how they ended, so that budgets outlive the process.
//!
//! One process owns the file through an exclusive lock, which the kernel releases when the process ends. A call is
//! written before it is dispatched. The page cache is enough for that, because it survives a killed process. The owner
//! gives the file away when it drains; a process that waits for the file dispatches nothing until then.
//!
//! `record` is pure: it converts between bytes and calls.

#![warn(clippy::wildcard_enum_match_arm)]

mod file;
mod handover;
mod keys;
mod record;
#[cfg(test)]
mod tests;
mod times;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use file::{LockAttempt, LockedFile, Opened};
pub use keys::{FileClaim, KeyFile};
use record::{CallRecord, CallState};
use times::Times;

use crate::budget::{BudgetId, BudgetSet, Budgets, CallLifetime, Clock, RestoredCalls};
use crate::causes::Causes;
use crate::lock::lock;
use crate::refusal::Refusal;

/// Time for which a leaving owner waits for the answers to its last calls. It is a part of the 5 s that requests wait
/// in the next process.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// The reason why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be opened, created, locked, read or written.
    #[error("the state file {} cannot be used", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The path names something else, which must not be overwritten.
    #[error("{} is not a state file of this program; state_file must name a file of its own", .0.display())]
    Foreign(PathBuf),
}

/// The reason why a call was not written and must not be dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// Another process owns the file.
    #[error("the state file is another process's")]
    NotOurs,
    /// The write failed, for instance because the disk is full.
    #[error("the state file could not be written")]
    Failed,
}

impl From<NotWritten> for Refusal {
    fn from(error: NotWritten) -> Self {
        match error {
            NotWritten::NotOurs => Self::Draining,
            NotWritten::Failed => Self::StateFile,
        }
    }
}

/// The relation of this process to the state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum LedgerPhase {
    /// Another process owns the file.
    Waiting = 0,
    /// This process owns the file and dispatches calls.
    Owned = 1,
    /// This process owns the file, but only finishes its calls.
    Closing = 2,
    /// This process has given the file away.
    Gone = 3,
}

/// The state file as used by this process.
pub struct Ledger {
    path: PathBuf,
    keys: Arc<KeyFile>,
    times: Times,
    clock: Clock,
    phase: AtomicU8,
    /// The id of the process that owns the file, or owned it before this one; zero if unknown.
    other: AtomicU32,
    changed: Notify,
    book: Mutex<Book>,
    /// Notified when the last call in flight ends.
    idle: Condvar,
}

/// The owner's state of the file.
#[derive(Default)]
struct Book {
    file: Option<LockedFile>,
    in_flight: usize,
    /// The longest that an attempt of the calls in flight can last.
    attempt: Duration,
    failing: bool,
}

impl Ledger {
    /// Opens the file and takes it over. If another process owns it, [`Ledger::wait_for_owner`] has to be called next.
    pub fn open(path: &Path, clock: Clock, budgets: &Budgets) -> Result<Arc<Self>, LedgerError> {
        let ledger = Arc::new(Self {
            path: path.to_owned(),
            keys: KeyFile::beside(path),
            times: Times::new(clock),
            clock,
            phase: AtomicU8::new(LedgerPhase::Waiting as u8),
            other: AtomicU32::new(0),
            changed: Notify::new(),
            book: Mutex::default(),
            idle: Condvar::new(),
        });
        match Opened::open(path)?.try_lock()? {
            LockAttempt::Locked(locked) => ledger.take_up(locked, budgets)?,
            LockAttempt::Taken(opened) => {
                ledger.look_at_owner(&opened);
                let (path, owner) = (path.display(), ledger.other());
                tracing::warn!(%path, owner, "another process has the state file: calls wait until it gives it away");
            }
        }
        Ok(ledger)
    }

    /// Checks that a file can be used, as far as that is possible without changing it.
    pub fn check(path: &Path) -> Result<(), LedgerError> {
        file::check(path)
    }

    /// Reads the file, restores the budgets from it, and admits calls.
    fn take_up(&self, mut locked: LockedFile, budgets: &Budgets) -> Result<(), LedgerError> {
        if self.phase() != LedgerPhase::Waiting {
            // The process was stopped in the meantime: the file stays free for the next one.
            return Ok(());
        }
        let now = self.times.reading();
        let image = locked.take_up(now)?;
        self.other.store(image.owner, Ordering::Relaxed);
        let path = self.path.display();
        match (image.damage, locked.is_new()) {
            (Some(damage), _) => tracing::error!(
                %path, %damage,
                "the state file is damaged: every budget is held back for one window and guard"
            ),
            (None, true) => tracing::warn!(%path, "the state file is new: budgets start empty"),
            (None, false) => {
                tracing::info!(%path, calls = image.found.len(), "the state file was taken over");
            }
        }
        let mut restored = RestoredCalls::new(image.held_back.map(|held| held.timestamp));
        for found in &image.found {
            for id in found.call.budgets.iter().flatten() {
                restored.add(*id, found.ended);
            }
        }
        self.keys.take_up();
        let mut book = self.lock();
        if self.phase() == LedgerPhase::Waiting {
            budgets.restore(restored);
            if !locked.is_new() {
                // The file has what was taken out of own parts.
                budgets.own_parts().open_all();
            }
            book.file = Some(locked);
            self.enter(LedgerPhase::Owned);
        }
        Ok(())
    }

    /// The calls with a key of their caller.
    pub fn keys(&self) -> &Arc<KeyFile> {
        &self.keys
    }

    /// Whether calls can be dispatched.
    pub fn is_owned(&self) -> bool {
        self.phase() == LedgerPhase::Owned
    }

    /// The id of the process that owns the file, or owned it before this one; zero if unknown.
    pub fn other(&self) -> u32 {
        self.other.load(Ordering::Relaxed)
    }

    /// Whether the former owner is still running, and so is just ending.
    pub fn other_runs(&self) -> bool {
        let other = self.other();
        // In containers, both processes can have the same id.
        other != 0 && other != std::process::id() && Path::new(&format!("/proc/{other}")).exists()
    }

    /// The state as one word for operators.
    pub fn status(&self) -> &'static str {
        match self.phase() {
            LedgerPhase::Waiting => "waiting",
            LedgerPhase::Owned if self.lock().failing => "cannot be written",
            LedgerPhase::Owned => "owned",
            LedgerPhase::Closing | LedgerPhase::Gone => "handed over",
        }
    }

    /// Returns once this process owns the file, or never will.
    pub async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.phase() != LedgerPhase::Waiting {
                return;
            }
            changed.await;
        }
    }

    /// Refuses new calls, waits a short time for the answers to the last ones, records the calls that are left, and
    /// gives the file away. Blocks meanwhile.
    pub fn hand_over(&self) {
        let book = self.lock();
        if self.phase() == LedgerPhase::Waiting {
            return self.enter(LedgerPhase::Gone);
        }
        self.enter(LedgerPhase::Closing);
        let (mut book, _) = self
            .idle
            .wait_timeout_while(book, LAST_ANSWERS, |book| book.in_flight > 0)
            .unwrap_or_else(PoisonError::into_inner);
        self.enter(LedgerPhase::Gone);
        let Some(file) = book.file.take() else { return };
        let (in_flight, attempt) = (book.in_flight, book.attempt);
        // Calls that end from here on are not written any more. The lock is released so that they need not wait for the
        // disk.
        drop(book);
        match file.give_away(self.times.stamp(), attempt) {
            Ok(()) => tracing::info!(in_flight, "the state file was given away"),
            Err(error) => {
                tracing::error!(error = %Causes(&error), "the state file was given away without its last records");
            }
        }
    }

    fn phase(&self) -> LedgerPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => LedgerPhase::Waiting,
            1 => LedgerPhase::Owned,
            2 => LedgerPhase::Closing,
            _ => LedgerPhase::Gone,
        }
    }

    fn enter(&self, phase: LedgerPhase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Writes a call that is about to be dispatched. Its cell is reused once the call has ended and holds no slot.
    pub fn begin(self: &Arc<Self>, budget_set: BudgetSet) -> Result<LedgerEntry, NotWritten> {
        let Longest { home, lifetime } = longest(&budget_set);
        let call = CallRecord::new(CallState::InFlight, self.times.stamp(), home, &budget_set);
        let now = self.clock.now();
        let mut book = self.lock();
        let Book { file: Some(file), .. } = &mut *book else { return Err(NotWritten::NotOurs) };
        if self.phase() != LedgerPhase::Owned {
            return Err(NotWritten::NotOurs);
        }
        let begun = file.begin(&call, home, |end| end + lifetime.hold < now);
        if begun.is_err() != book.failing {
            book.failing = begun.is_err();
            if let Err(error) = &begun {
                let path = self.path.display();
                tracing::error!(%path, error = %Causes(error), "the state file cannot be written: calls are refused");
            } else {
                tracing::info!("the state file can be written again");
            }
        }
        let number = begun.map_err(|_| NotWritten::Failed)?;
        book.in_flight += 1;
        book.attempt = book.attempt.max(lifetime.attempt);
        drop(book);
        Ok(LedgerEntry { ledger: Arc::clone(self), number, budget_set })
    }

    /// Writes the end of a call; `None`: the call was not made.
    fn end(&self, number: u32, budget_set: &BudgetSet, state: Option<CallState>) {
        let Longest { home, .. } = longest(budget_set);
        let call = state.map(|state| CallRecord::new(state, self.times.stamp(), home, budget_set));
        let now = self.clock.now();
        let mut book = self.lock();
        book.in_flight -= 1;
        if book.in_flight == 0 {
            self.idle.notify_all();
        }
        if let Some(file) = &mut book.file {
            file.end(number, call.as_ref(), home, now);
        }
    }
}

/// The budget of a call that holds its slot longest.
struct Longest {
    home: BudgetId,
    lifetime: CallLifetime,
}

fn longest(budget_set: &BudgetSet) -> Longest {
    let budgets =
        budget_set.iter().map(|budget| Longest { home: budget.id(), lifetime: budget.call_lifetime() });
    budgets.max_by_key(|longest| longest.lifetime.hold).expect("every operation has a budget")
}

/// A dispatched call in the state file. Its holder has to record the end of the call.
#[must_use]
pub struct LedgerEntry {
    ledger: Arc<Ledger>,
    /// The number of its cell in the file.
    number: u32,
    budget_set: BudgetSet,
}

impl LedgerEntry {
    /// Records that the vendor answered.
    pub fn settle(self) {
        self.end(Some(CallState::Settled));
    }

    /// Records that the call was given up: the vendor may still count it for a while.
    pub fn abandon(self) {
        self.end(Some(CallState::Abandoned));
    }

    /// Removes a call of which no byte was written.
    pub fn erase(self) {
        self.end(None);
    }

    fn end(self, state: Option<CallState>) {
        self.ledger.end(self.number, &self.budget_set, state);
    }
}
