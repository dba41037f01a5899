//! The format of the state file. Pure: bytes and times come in, calls come out.
//!
//! The file is a row of cells of 64 bytes, each with a checksum of its own, so that recording a call is one small write
//! and a torn write damages one cell only. The first cell is the header; every other one is free or a call. Numbers are
//! little-endian. No cell holds a secret or a key: a budget is identified by its [`BudgetId`].

use crate::budget::{Budget, BudgetId, BudgetSet, Ended, Timestamp, fnv1a};

/// Bytes in a cell.
pub(super) const CELL: usize = 64;
/// The first bytes of every state file.
const MAGIC: &[u8; 16] = b"jpush-gw budgets";
/// The version of this format.
const VERSION: u32 = 1;
/// Matching bytes of [`MAGIC`] from which on a file is a damaged state file and not a foreign one.
const MAGIC_LEAST: usize = 12;
/// The most budgets that one call draws on.
const DRAWS: usize = 4;
/// The offset of the checksum in a cell.
const SUM: usize = CELL - 8;
/// The age in microseconds from which on no call matters any more, whatever its budget: two times 31 days and a margin.
pub(super) const FORGOTTEN: u64 = 64 * 24 * 3_600 * 1_000_000;

/// The time of a write by two clocks, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Time since 1970. This clock can be set, so it can jump.
    pub(super) wall: u64,
    /// Time since [`FORGOTTEN`] before the machine started, so that writes before that start have a time as well.
    pub(super) up: u64,
}

impl Stamp {
    /// The stamp this many microseconds earlier.
    fn before(self, elapsed: u64) -> Self {
        Self { wall: self.wall.saturating_sub(elapsed), up: self.up.saturating_sub(elapsed) }
    }
}

/// The present time for reading a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) stamp: Stamp,
    /// Identifies the start of the machine; zero if unknown.
    pub(super) boot: u64,
    /// The same time on the clock of the budgets.
    pub(super) timestamp: Timestamp,
}

/// The state of a call when it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    /// Dispatched by the process that owns the file.
    InFlight,
    /// Answered by the vendor.
    Settled,
    /// Given up before an answer.
    Abandoned,
    /// Under way when its process gave the file away; it ends after this many milliseconds at the latest.
    Left(u32),
}

/// One call as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallRecord {
    pub(super) state: CallState,
    /// The time at which it came into this state.
    pub(super) at: Stamp,
    /// The budgets of the call; the first is the one that holds it longest.
    pub(super) budgets: [Option<BudgetId>; DRAWS],
}

/// The first cell of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// The least number of cells that follow.
    pub(super) cells: u32,
    /// The start of the machine in which a process last took the file over.
    pub(super) boot: u64,
    /// Calls that are not recorded were made until this time.
    pub(super) held_back: Option<Stamp>,
    /// Whether the last owner gave the file away with everything on the disk.
    pub(super) clean: bool,
    /// Whether the owner accepts no more callers and is about to give the file away.
    pub(super) leaving: bool,
    /// The id of the process that last took the file over; zero if unknown.
    pub(super) owner: u32,
}

/// The reason why a file is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("its head is damaged")]
    Head,
    #[error("it has the form of another version")]
    Version,
    #[error("it is shorter than it was")]
    Truncated,
    #[error("{0} of its records are damaged")]
    Cells(u32),
    #[error("the machine went down before everything was on the disk")]
    PowerCut,
}

/// The file is not a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign;

/// One call of the file and its effect on the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordedCall {
    /// The number of its cell; the first cell after the header is 0.
    pub(super) cell: u32,
    /// The call as it is to be written again, by the present clocks.
    pub(super) call: CallRecord,
    pub(super) ended: Ended,
}

/// The time until which calls were made that are not recorded, so that every budget counts as used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldBack {
    pub(super) at: Stamp,
    pub(super) timestamp: Timestamp,
}

/// The contents of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) found: Vec<RecordedCall>,
    /// Cells that are free, or whose call no longer matters.
    pub(super) free: Vec<u32>,
    /// Cells that cannot be read.
    pub(super) broken: Vec<u32>,
    /// The number of whole cells after the header.
    pub(super) cells: u32,
    /// Set if calls were made that are not recorded.
    pub(super) held_back: Option<HeldBack>,
    pub(super) damage: Option<Damage>,
    /// The id of the process that owned the file; zero if unknown.
    pub(super) owner: u32,
}

/// The bytes of a free cell.
pub(super) fn free() -> [u8; CELL] {
    sealed([0; CELL])
}

impl CallRecord {
    /// A call on the budgets of `budget_set`; `home` is the one that holds it longest.
    pub(super) fn new(state: CallState, at: Stamp, home: BudgetId, budget_set: &BudgetSet) -> Self {
        let mut budgets = [Some(home), None, None, None];
        let others = budget_set.iter().map(Budget::id).filter(|id| *id != home);
        for (place, id) in budgets[1..].iter_mut().zip(others) {
            *place = Some(id);
        }
        Self { state, at, budgets }
    }

    /// The budget that holds the call longest.
    pub(super) fn home(&self) -> BudgetId {
        self.budgets[0].expect("a call draws on one budget at least")
    }

    pub(super) fn encode(&self) -> [u8; CELL] {
        let (kind, left) = match self.state {
            CallState::InFlight => (1, 0),
            CallState::Settled => (2, 0),
            CallState::Abandoned => (3, 0),
            CallState::Left(left) => (4, left),
        };
        let mut cell = [0; CELL];
        cell[0] = kind;
        cell[1] = u8::try_from(self.budgets.iter().flatten().count()).expect("at most four");
        cell[4..8].copy_from_slice(&left.to_le_bytes());
        cell[8..16].copy_from_slice(&self.at.wall.to_le_bytes());
        cell[16..24].copy_from_slice(&self.at.up.to_le_bytes());
        for (place, id) in cell[24..SUM].chunks_exact_mut(8).zip(self.budgets.iter().flatten()) {
            place.copy_from_slice(&id.0.to_le_bytes());
        }
        sealed(cell)
    }

    /// Decodes a cell; `None`: the cell is free. An error means that the cell is damaged.
    fn decode(cell: &[u8; CELL]) -> Result<Option<Self>, ()> {
        if !is_whole(cell) {
            return Err(());
        }
        let state = match cell[0] {
            0 => return Ok(None),
            1 => CallState::InFlight,
            2 => CallState::Settled,
            3 => CallState::Abandoned,
            4 => CallState::Left(u32_at(cell, 4)),
            _ => return Err(()),
        };
        let count = usize::from(cell[1]);
        if !(1..=DRAWS).contains(&count) {
            return Err(());
        }
        let mut budgets = [None; DRAWS];
        for (number, place) in budgets.iter_mut().take(count).enumerate() {
            *place = Some(BudgetId(u64_at(cell, 24 + 8 * number)));
        }
        Ok(Some(Self { state, at: stamp_at(cell, 8), budgets }))
    }
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; CELL] {
        let mut cell = [0; CELL];
        cell[..16].copy_from_slice(MAGIC);
        cell[16..20].copy_from_slice(&VERSION.to_le_bytes());
        cell[20..24].copy_from_slice(&self.cells.to_le_bytes());
        cell[24..32].copy_from_slice(&self.boot.to_le_bytes());
        let held_back = self.held_back.unwrap_or_default();
        cell[32..40].copy_from_slice(&held_back.wall.to_le_bytes());
        cell[40..48].copy_from_slice(&held_back.up.to_le_bytes());
        cell[48] = u8::from(self.held_back.is_some());
        cell[49] = u8::from(self.clean);
        cell[50] = u8::from(self.leaving);
        cell[52..56].copy_from_slice(&self.owner.to_le_bytes());
        sealed(cell)
    }

    pub(super) fn decode(cell: &[u8; CELL]) -> Result<Self, Damage> {
        if !is_whole(cell) || cell[..16] != *MAGIC {
            return Err(Damage::Head);
        }
        if u32_at(cell, 16) != VERSION {
            return Err(Damage::Version);
        }
        Ok(Self {
            cells: u32_at(cell, 20),
            boot: u64_at(cell, 24),
            held_back: (cell[48] != 0).then(|| stamp_at(cell, 32)),
            clean: cell[49] != 0,
            leaving: cell[50] != 0,
            owner: u32_at(cell, 52),
        })
    }
}

/// Whether a file that begins with `bytes` is, or was, a state file. A power cut can leave zeros in its whole length or
/// in place of its header alone; the cells behind that have checksums, which no other file has.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let same = bytes.iter().zip(MAGIC).filter(|(ours, magic)| ours == magic).count();
    let short = bytes.len() < MAGIC.len();
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let (head, rest) = bytes.split_at(bytes.len().min(CELL));
    let lost_its_head = || {
        is_zero(head)
            && (is_zero(rest)
                || rest.as_chunks::<CELL>().0.iter().any(|cell| CallRecord::decode(cell).is_ok()))
    };
    same >= MAGIC_LEAST || (short && same == bytes.len()) || lost_its_head()
}

/// Reads a file. Whatever its bytes are, the result allows no more calls than what was written, unless whole cells were
/// replaced by older ones.
pub(super) fn read(bytes: &[u8], now: Now) -> Result<Image, Foreign> {
    if !is_ours(bytes) {
        return Err(Foreign);
    }
    let (whole, rest) = bytes.as_chunks::<CELL>();
    let head = whole.first().ok_or(Damage::Truncated).and_then(FileHeader::decode);
    // The cells of another version have another format and are not read.
    let cells = if head == Err(Damage::Version) { &[] } else { whole.get(1..).unwrap_or_default() };
    let (boot, held_back) = head.map_or((0, None), |head| (head.boot, head.held_back));
    let mut image = Image {
        found: Vec::new(),
        free: Vec::new(),
        broken: Vec::new(),
        cells: u32::try_from(cells.len()).unwrap_or(u32::MAX),
        held_back: held_back.map(|at| held_back_for(elapsed(at, boot, now), now)),
        damage: None,
        owner: head.map_or(0, |head| head.owner),
    };
    for (number, bytes) in (0..image.cells).zip(cells) {
        match CallRecord::decode(bytes) {
            Ok(Some(call)) => match elapsed(call.at, boot, now) {
                FORGOTTEN.. => image.free.push(number),
                elapsed => image.found.push(found(number, call, elapsed, now)),
            },
            Ok(None) => image.free.push(number),
            Err(()) => image.broken.push(number),
        }
    }
    let broken = u32::try_from(image.broken.len()).unwrap_or(u32::MAX);
    image.damage = match head {
        Err(damage) => Some(damage),
        Ok(head) if head.cells > image.cells || !rest.is_empty() => Some(Damage::Truncated),
        Ok(_) if broken > 0 => Some(Damage::Cells(broken)),
        Ok(head) if head.boot != now.boot && !head.clean => Some(Damage::PowerCut),
        Ok(_) => None,
    };
    if image.damage.is_some() {
        image.held_back = Some(held_back_for(0, now));
    }
    Ok(image)
}

/// The calls under way in a file of this process.
pub(super) fn in_flight(bytes: &[u8]) -> Vec<(u32, CallRecord)> {
    let (whole, _) = bytes.as_chunks::<CELL>();
    let cells = (0..).zip(whole.iter().skip(1));
    let read = cells.filter_map(|(number, bytes)| Some((number, CallRecord::decode(bytes).ok()??)));
    read.filter(|(_, call)| call.state == CallState::InFlight).collect()
}

fn held_back_for(elapsed: u64, now: Now) -> HeldBack {
    HeldBack { at: now.stamp.before(elapsed), timestamp: before(now, elapsed) }
}

/// The effect of a call whose process has ended or has given the file away.
fn found(number: u32, call: CallRecord, elapsed: u64, now: Now) -> RecordedCall {
    let at = now.stamp.before(elapsed);
    let (state, at, ended) = match call.state {
        // The process died at the latest just now, and the vendor may still receive the last bytes.
        CallState::InFlight => (CallState::Abandoned, now.stamp, Ended::GivenUp(now.timestamp)),
        CallState::Settled => (call.state, at, Ended::Answered(before(now, elapsed))),
        CallState::Abandoned => (call.state, at, Ended::GivenUp(before(now, elapsed))),
        CallState::Left(left) => {
            let end =
                now.timestamp.as_micros().saturating_add(u64::from(left) * 1_000).saturating_sub(elapsed);
            (call.state, at, Ended::GivenUp(Timestamp::from_micros(end)))
        }
    };
    RecordedCall { cell: number, call: CallRecord { state, at, ..call }, ended }
}

/// Microseconds since a write: by the wall clock, never negative, and never more than by the monotonic clock if the
/// machine has not been restarted since.
fn elapsed(at: Stamp, boot: u64, now: Now) -> u64 {
    let by_wall = now.stamp.wall.saturating_sub(at.wall);
    let same_boot = boot != 0 && boot == now.boot;
    if same_boot { by_wall.min(now.stamp.up.saturating_sub(at.up)) } else { by_wall }
}

fn before(now: Now, elapsed: u64) -> Timestamp {
    Timestamp::from_micros(now.timestamp.as_micros().saturating_sub(elapsed))
}

fn sealed(mut cell: [u8; CELL]) -> [u8; CELL] {
    let sum = fnv1a(cell[..SUM].iter().copied());
    cell[SUM..].copy_from_slice(&sum.to_le_bytes());
    cell
}

fn is_whole(cell: &[u8; CELL]) -> bool {
    u64_at(cell, SUM) == fnv1a(cell[..SUM].iter().copied())
}

fn stamp_at(cell: &[u8; CELL], at: usize) -> Stamp {
    Stamp { wall: u64_at(cell, at), up: u64_at(cell, at + 8) }
}

fn u32_at(cell: &[u8; CELL], at: usize) -> u32 {
    u32::from_le_bytes(cell[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(cell: &[u8; CELL], at: usize) -> u64 {
    u64::from_le_bytes(cell[at..at + 8].try_into().expect("eight bytes"))
}
