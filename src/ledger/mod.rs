//! The state file: which calls were dispatched and how they ended, so that budgets outlive the process.
//!
//! One process owns the file, by an exclusive lock that the kernel takes back when the process is gone. A call is
//! written before it is dispatched; the page cache is enough for that, because a killed process takes nothing of it
//! along. The owner gives the file away when it drains; who waits for it serves nothing until then.
//!
//! `record` is pure: the bytes and what they mean.

#![warn(clippy::wildcard_enum_match_arm)]

mod file;
mod handover;
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
use record::{CallRecord, CallState};
use times::Times;

use crate::budget::{BudgetId, BudgetSet, Budgets, CallLifetime, Clock, RestoredCalls};
use crate::causes::Causes;
use crate::lock::lock;
use crate::refusal::Refusal;

/// How long the owner waits at its end for the answers of its last calls, of the 5 s that requests wait elsewhere.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Why there is no state file.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be opened, made, locked, read or written.
    #[error("the state file {} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else, which must not be overwritten.
    #[error("{} is not a state file of this program; state_file must name a file of its own", .0.display())]
    Foreign(PathBuf),
}

/// Why a call must not be dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// The file is another process's.
    #[error("the state file is another process's")]
    NotOurs,
    /// It could not be written.
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

/// Where a state file is on its way through this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum LedgerPhase {
    /// Another process has it.
    Waiting = 0,
    /// Ours: calls are dispatched.
    Owned = 1,
    /// Ours: calls are only finished.
    Closing = 2,
    /// Ours no more.
    Gone = 3,
}

/// The state file of this process.
pub struct Ledger {
    path: PathBuf,
    times: Times,
    clock: Clock,
    phase: AtomicU8,
    /// The process that has the file, or had it before us; zero while that is not known.
    other: AtomicU32,
    changed: Notify,
    book: Mutex<Book>,
    /// Told when the last call in flight ended.
    calm: Condvar,
}

/// What the owner of the file knows about it.
#[derive(Default)]
struct Book {
    file: Option<LockedFile>,
    in_flight: usize,
    /// The longest an attempt of those in flight can last.
    attempt: Duration,
    failing: bool,
}

impl Ledger {
    /// Takes the file up; if another process has it, [`Ledger::wait_in_line`] has to follow.
    pub fn open(path: &Path, clock: Clock, budgets: &Budgets) -> Result<Arc<Self>, LedgerError> {
        let ledger = Arc::new(Self {
            path: path.to_owned(),
            times: Times::new(clock),
            clock,
            phase: AtomicU8::new(LedgerPhase::Waiting as u8),
            other: AtomicU32::new(0),
            changed: Notify::new(),
            book: Mutex::default(),
            calm: Condvar::new(),
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

    /// Whether a file can be used, as far as that shows without touching it.
    pub fn check(path: &Path) -> Result<(), LedgerError> {
        file::check(path)
    }

    /// Reads the file, gives the budgets what it tells, and lets calls through.
    fn take_up(&self, mut locked: LockedFile, budgets: &Budgets) -> Result<(), LedgerError> {
        if self.phase() != LedgerPhase::Waiting {
            // Told to stop meanwhile: the file goes to the next.
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
            (None, false) => tracing::info!(%path, calls = image.found.len(), "the state file is ours"),
        }
        let mut restored = RestoredCalls::new(image.held_back.map(|held| held.timestamp));
        for found in &image.found {
            for id in found.call.budgets.iter().flatten() {
                restored.add(*id, found.ended);
            }
        }
        let mut book = self.lock();
        if self.phase() == LedgerPhase::Waiting {
            budgets.restore(restored);
            book.file = Some(locked);
            self.enter(LedgerPhase::Owned);
        }
        Ok(())
    }

    /// Whether calls can be dispatched.
    pub fn is_owned(&self) -> bool {
        self.phase() == LedgerPhase::Owned
    }

    /// The process that has the file, or had it before us; zero where that is not known.
    pub fn other(&self) -> u32 {
        self.other.load(Ordering::Relaxed)
    }

    /// Whether the process that had the file before us is still there, so that it ends just now.
    pub fn other_runs(&self) -> bool {
        let other = self.other();
        // In a container every process has the same number.
        other != 0 && other != std::process::id() && Path::new(&format!("/proc/{other}")).exists()
    }

    /// In a word, for operators.
    pub fn status(&self) -> &'static str {
        match self.phase() {
            LedgerPhase::Waiting => "waiting",
            LedgerPhase::Owned if self.lock().failing => "cannot be written",
            LedgerPhase::Owned => "owned",
            LedgerPhase::Closing | LedgerPhase::Gone => "handed over",
        }
    }

    /// Returns once the file is ours, or never will be.
    pub async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.phase() != LedgerPhase::Waiting {
                return;
            }
            changed.await;
        }
    }

    /// Takes no call any more, waits a little for the answers to the last ones, writes down which are left, and gives
    /// the file away. Blocks for as long as that takes.
    pub fn hand_over(&self) {
        let book = self.lock();
        if self.phase() == LedgerPhase::Waiting {
            return self.enter(LedgerPhase::Gone);
        }
        self.enter(LedgerPhase::Closing);
        let (mut book, _) = self
            .calm
            .wait_timeout_while(book, LAST_ANSWERS, |book| book.in_flight > 0)
            .unwrap_or_else(PoisonError::into_inner);
        self.enter(LedgerPhase::Gone);
        let Some(file) = book.file.take() else { return };
        let (in_flight, attempt) = (book.in_flight, book.attempt);
        // Calls that end from here on are not written any more, and need not wait for the disk.
        drop(book);
        match file.give_away(self.times.stamp(), attempt) {
            Ok(()) => tracing::info!(in_flight, "the state file was given away"),
            Err(error) => {
                tracing::error!(error = %Causes(&error), "the state file was given away without its last words");
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

    /// Writes a call down that is about to be dispatched. Its cell is free again when it has ended and its slots are.
    pub fn begin(self: &Arc<Self>, budget_set: BudgetSet) -> Result<LedgerEntry, NotWritten> {
        let Longest { home, reach } = longest(&budget_set);
        let call = CallRecord::new(CallState::InFlight, self.times.stamp(), home, &budget_set);
        let now = self.clock.now();
        let mut book = self.lock();
        let Book { file: Some(file), .. } = &mut *book else { return Err(NotWritten::NotOurs) };
        if self.phase() != LedgerPhase::Owned {
            return Err(NotWritten::NotOurs);
        }
        let begun = file.begin(&call, home, |end| end + reach.hold < now);
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
        book.attempt = book.attempt.max(reach.attempt);
        drop(book);
        Ok(LedgerEntry { ledger: Arc::clone(self), number, budget_set })
    }

    /// Writes down how a call ended; `None`: it was never made.
    fn end(&self, number: u32, budget_set: &BudgetSet, state: Option<CallState>) {
        let Longest { home, .. } = longest(budget_set);
        let call = state.map(|state| CallRecord::new(state, self.times.stamp(), home, budget_set));
        let now = self.clock.now();
        let mut book = self.lock();
        book.in_flight -= 1;
        if book.in_flight == 0 {
            self.calm.notify_all();
        }
        if let Some(file) = &mut book.file {
            file.end(number, call.as_ref(), home, now);
        }
    }
}

/// The budget of a draw that holds a call longest.
struct Longest {
    home: BudgetId,
    reach: CallLifetime,
}

fn longest(budget_set: &BudgetSet) -> Longest {
    let budgets = budget_set.iter().map(|budget| Longest { home: budget.id(), reach: budget.reach() });
    budgets.max_by_key(|longest| longest.reach.hold).expect("every operation has a budget")
}

/// A call under way as the file knows it; whoever has it tells how the call ended.
#[must_use]
pub struct LedgerEntry {
    ledger: Arc<Ledger>,
    /// Its cell.
    number: u32,
    budget_set: BudgetSet,
}

impl LedgerEntry {
    /// The vendor answered.
    pub fn settle(self) {
        self.end(Some(CallState::Settled));
    }

    /// The call was given up: the vendor may still count it for a while.
    pub fn abandon(self) {
        self.end(Some(CallState::Abandoned));
    }

    /// No byte of it was written, so it is as if it had not begun.
    pub fn erase(self) {
        self.end(None);
    }

    fn end(self, state: Option<CallState>) {
        self.ledger.end(self.number, &self.budget_set, state);
    }
}
