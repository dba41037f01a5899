//! Access to the file itself: opening, locking, and writing cell by cell.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::LedgerError;
use super::record::{self, CELL, CallRecord, CallState, FileHeader, Image, Now, Stamp};
use crate::budget::{BudgetId, Ended, Timestamp};
use crate::config::may_create;

/// Number of cells by which the file grows: one page of memory.
const GROWTH: u32 = 64;

/// An open state file that this process has not locked.
pub(super) struct Opened {
    path: PathBuf,
    file: File,
    is_new: bool,
}

/// The result of an attempt to lock the file.
pub(super) enum LockAttempt {
    /// This process has the lock.
    Locked(LockedFile),
    /// Another process has the lock.
    Taken(Opened),
}

/// A state file locked by this process, so that no other process writes it.
pub(super) struct LockedFile {
    path: PathBuf,
    file: File,
    is_new: bool,
    head: FileHeader,
    /// Cells of calls that ended, by the budget that holds them longest, oldest first.
    ended: HashMap<BudgetId, VecDeque<(Timestamp, u32)>>,
    free: Vec<u32>,
}

/// Checks that `path` is a state file, or that one could be created there.
pub(super) fn check(path: &Path) -> Result<(), LedgerError> {
    let fault = |source| LedgerError::Io { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            is_ours(&OpenOptions::new().read(true).write(true).open(path).map_err(fault)?, path)
        }
        Ok(_) => Err(LedgerError::Foreign(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => may_create(path).map_err(fault),
        Err(error) => Err(fault(error)),
    }
}

fn is_ours(file: &File, path: &Path) -> Result<(), LedgerError> {
    let mut first = [0; CELL];
    let length =
        file.read_at(&mut first, 0).map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
    if record::is_ours(&first[..length]) { Ok(()) } else { Err(LedgerError::Foreign(path.to_owned())) }
}

impl Opened {
    /// Opens the file, or creates it. A file that is not a state file is an error and is left unchanged.
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        let fault = |source| LedgerError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let (file, is_new) = match options.clone().create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options.open(path).map_err(fault)?, false)
            }
            Err(error) => return Err(fault(error)),
        };
        if !file.metadata().map_err(fault)?.is_file() {
            return Err(LedgerError::Foreign(path.to_owned()));
        }
        is_ours(&file, path)?;
        Ok(Self { path: path.to_owned(), file, is_new })
    }

    /// Locks the file if no other process has the lock.
    pub(super) fn try_lock(self) -> Result<LockAttempt, LedgerError> {
        let path = self.path.clone();
        match self.file.try_lock() {
            Ok(()) => match self.locked()? {
                Some(locked) => Ok(LockAttempt::Locked(locked)),
                None => Self::open(&path).map(LockAttempt::Taken),
            },
            Err(TryLockError::WouldBlock) => Ok(LockAttempt::Taken(self)),
            Err(TryLockError::Error(source)) => Err(LedgerError::Io { path, source }),
        }
    }

    /// The header that the owner wrote; `None` if it cannot be read, which includes a read during a write.
    pub(super) fn head(&self) -> Option<FileHeader> {
        let mut cell = [0; CELL];
        self.file.read_exact_at(&mut cell, 0).ok()?;
        FileHeader::decode(&cell).ok()
    }

    /// Returns `None` if the path names another file by now: the lock on the old file then means nothing.
    fn locked(self) -> Result<Option<LockedFile>, LedgerError> {
        let Self { path, file, is_new } = self;
        let fault = |source| LedgerError::Io { path: path.clone(), source };
        let ours = file.metadata().map_err(fault)?;
        let named = match std::fs::metadata(&path) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error)),
        };
        if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
            return Ok(None);
        }
        Ok(Some(LockedFile {
            path,
            file,
            is_new,
            head: FileHeader::default(),
            ended: HashMap::new(),
            free: Vec::new(),
        }))
    }
}

impl LockedFile {
    /// Whether this process created the file.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Reads the file and rewrites it as the file of this process.
    pub(super) fn take_up(&mut self, now: Now) -> Result<Image, LedgerError> {
        let fault = |source| LedgerError::Io { path: self.path.clone(), source };
        let image = if self.is_new { Image::default() } else { self.read(now)? };
        // The header goes first: it records the damage before the damaged cells are overwritten below.
        self.head = FileHeader {
            cells: image.cells,
            boot: now.boot,
            held_back: image.held_back.map(|held| held.at),
            clean: false,
            leaving: false,
            owner: std::process::id(),
        };
        self.write_head().map_err(fault)?;
        self.file.set_len(place(image.cells)).map_err(fault)?;
        for cell in &image.broken {
            self.file.write_all_at(&record::free(), place(*cell)).map_err(fault)?;
        }
        for found in &image.found {
            self.file.write_all_at(&found.call.encode(), place(found.cell)).map_err(fault)?;
            let (Ended::Answered(end) | Ended::GivenUp(end)) = found.ended;
            self.ended.entry(found.call.home()).or_default().push_back((end, found.cell));
        }
        for cells in self.ended.values_mut() {
            cells.make_contiguous().sort_unstable();
        }
        self.free = [&image.free[..], &image.broken].concat();
        Ok(image)
    }

    fn read(&self, now: Now) -> Result<Image, LedgerError> {
        let bytes = self.bytes().map_err(|source| LedgerError::Io { path: self.path.clone(), source })?;
        record::read(&bytes, now).map_err(|_| LedgerError::Foreign(self.path.clone()))
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes a call and returns its cell. `is_over` tells whether a call that ended at a given time no longer holds a
    /// slot, so that its cell can be reused.
    pub(super) fn begin(
        &mut self,
        call: &CallRecord,
        home: BudgetId,
        is_over: impl Fn(Timestamp) -> bool,
    ) -> io::Result<u32> {
        let ended = self.ended.entry(home).or_default();
        let over = ended.pop_front_if(|(end, _)| is_over(*end)).map(|(_, cell)| cell);
        let number = match over.or_else(|| self.free.pop()) {
            Some(number) => number,
            None => self.grow()?,
        };
        let written = self.file.write_all_at(&call.encode(), place(number));
        written.map(|()| number).inspect_err(|_| self.free.push(number))
    }

    /// Writes the end of a call; `None` frees its cell.
    pub(super) fn end(&mut self, number: u32, call: Option<&CallRecord>, home: BudgetId, now: Timestamp) {
        let bytes = call.map_or_else(record::free, CallRecord::encode);
        // A failed write leaves the call recorded as in flight, which the next reader counts as given up.
        let _ = self.file.write_all_at(&bytes, place(number));
        match call {
            Some(_) => self.ended.entry(home).or_default().push_back((now, number)),
            None => self.free.push(number),
        }
    }

    /// Adds cells to the file and returns one of them.
    fn grow(&mut self) -> io::Result<u32> {
        let first = self.head.cells;
        let cells = record::free().repeat(GROWTH as usize);
        // Cells that a full disk let through only in part would be read as damage.
        let shrink = |_: &io::Error| drop(self.file.set_len(place(first)));
        self.file.write_all_at(&cells, place(first)).inspect_err(shrink)?;
        self.head.cells += GROWTH;
        self.write_head().inspect_err(|_| self.head.cells = first)?;
        self.free.extend((first + 1..first + GROWTH).rev());
        Ok(first)
    }

    /// Announces in the header that the file will be given away soon.
    pub(super) fn announce(&mut self) -> io::Result<()> {
        self.head.leaving = true;
        self.write_head()
    }

    /// Records the calls still under way and the longest they can last, syncs the file to the disk, and unlocks it.
    pub(super) fn give_away(mut self, at: Stamp, attempt: Duration) -> io::Result<()> {
        let left = u32::try_from(attempt.as_millis() + 1).unwrap_or(u32::MAX);
        for (number, call) in record::in_flight(&self.bytes()?) {
            let call = CallRecord { state: CallState::Left(left), at, ..call };
            self.file.write_all_at(&call.encode(), place(number))?;
        }
        self.file.sync_data()?;
        self.head.clean = true;
        self.write_head()?;
        self.file.sync_data()?;
        self.file.unlock()
    }

    fn write_head(&self) -> io::Result<()> {
        self.file.write_all_at(&self.head.encode(), 0)
    }
}

/// The offset of a cell in the file.
fn place(number: u32) -> u64 {
    (u64::from(number) + 1) * CELL as u64
}

#[cfg(test)]
impl Opened {
    /// A state file opened for reading only, so that every write fails.
    pub(super) fn unwritable(path: &Path) -> LockedFile {
        let file = File::open(path).expect("the file");
        Self { path: path.to_owned(), file, is_new: false }
            .locked()
            .expect("the file can be looked at")
            .expect("the path names it")
    }
}
