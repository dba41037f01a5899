use std::fs::{self, File};
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::file::Opened;
use super::record::{CELL, Damage, FORGOTTEN, FileHeader, Image, Now, Stamp, is_ours, read};
use super::*;
use crate::budget::{self, Budget, CallerNumber, Ended, Horizon, RateHeaders, Requester, Timestamp};
use crate::config::{BudgetLimit, VendorKey};
use crate::operation::BudgetName;
use crate::payment::{Dispatched, Payment};
use crate::store::GivenSlots;

const HORIZON: Horizon = Horizon { guard: Duration::from_secs(10), attempt: Duration::from_secs(28) };
const BOOT: u64 = 77;
const SECOND: u64 = 1_000_000;

/// A stamp at which both clocks agree.
fn at(seconds: u64) -> Stamp {
    Stamp { wall: (1_000_000 + seconds) * SECOND, up: FORGOTTEN + (500 + seconds) * SECOND }
}

fn now(stamp: Stamp) -> Now {
    Now { stamp, boot: BOOT, timestamp: timestamp(1_000) }
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * SECOND)
}

fn call(state: CallState, at: Stamp, ids: &[u64]) -> CallRecord {
    let mut budgets = [None; 4];
    budgets.iter_mut().zip(ids).for_each(|(place, id)| *place = Some(BudgetId(*id)));
    CallRecord { state, at, budgets }
}

fn file(head: FileHeader, calls: &[Option<CallRecord>]) -> Vec<u8> {
    let rest = calls.iter().map(|call| call.map_or_else(record::free, |call| call.encode()));
    [head.encode()].into_iter().chain(rest).flatten().collect()
}

fn head(cells: u32) -> FileHeader {
    FileHeader { cells, boot: BOOT, ..FileHeader::default() }
}

fn story() -> Vec<u8> {
    let calls = [
        Some(call(CallState::InFlight, at(7), &[1])),
        None,
        Some(call(CallState::Settled, at(5), &[1])),
        Some(call(CallState::Abandoned, at(6), &[2, 1])),
        Some(call(CallState::Left(30_000), at(4), &[3, 4, 5, 6])),
    ];
    file(head(5), &calls)
}

fn ends(image: &Image) -> Vec<(u32, Ended)> {
    image.found.iter().map(|found| (found.cell, found.ended)).collect()
}

#[test]
fn what_was_written_is_read_back_at_its_age() {
    let image = read(&story(), now(at(10))).expect("ours");
    assert_eq!((image.damage, image.held_back, image.cells), (None, None, 5));
    assert_eq!(image.free, [1]);
    let expected = [
        (0, Ended::GivenUp(timestamp(1_000))),
        (2, Ended::Answered(timestamp(995))),
        (3, Ended::GivenUp(timestamp(996))),
        (4, Ended::GivenUp(timestamp(1_024))),
    ];
    assert_eq!(ends(&image), expected, "in flight counts as given up now, left behind as still to end");
    assert_eq!(
        image.found[0].call,
        call(CallState::Abandoned, at(10), &[1]),
        "another crash does not prolong it"
    );
    assert_eq!(image.found[2].call, call(CallState::Abandoned, at(6), &[2, 1]));
    assert_eq!(image.found[3].call.budgets, call(CallState::Settled, at(0), &[3, 4, 5, 6]).budgets);
}

/// Checks the elapsed time for shifts of both clocks, in seconds, between writing and reading.
#[test]
fn no_clock_makes_a_call_older_than_it_is() {
    let settled = file(head(1), &[Some(call(CallState::Settled, at(100), &[1]))]);
    let age = |wall: i64, up: i64, boot: u64| {
        let written = at(100);
        let moved = |clock: u64, by: i64| clock.saturating_add_signed(by * 1_000_000);
        let stamp = Stamp { wall: moved(written.wall, wall), up: moved(written.up, up) };
        let image = read(&settled, Now { boot, ..now(stamp) }).expect("ours");
        let [(0, Ended::Answered(end))] = ends(&image)[..] else { panic!("one answered call: {image:?}") };
        timestamp(1_000).since(end).as_secs()
    };
    assert_eq!(age(3, 3, BOOT), 3);
    assert_eq!(age(-3_600, 3, BOOT), 0, "set back: as if no time had passed");
    assert_eq!(age(3_600, 3, BOOT), 3, "set forward: no more than has passed");
    assert_eq!(age(2, 3_600, BOOT), 2, "the clock on the wall is never overruled upwards");
    assert_eq!(age(900, -90, BOOT + 1), 900, "after another start of the machine only the wall counts");
    assert_eq!(age(900, 3, 0), 900, "and where the system does not tell");
}

#[test]
fn what_cannot_be_known_holds_everything_back() {
    let story = story();
    let damage = |bytes: &[u8], now: Now| {
        let image = read(bytes, now).expect("ours");
        let held = image.held_back.map(|held| held.timestamp);
        assert_eq!(held, image.damage.map(|_| now.timestamp), "{:?}", image.damage);
        image.damage
    };
    let present = now(at(10));
    assert_eq!(damage(&story, present), None);
    assert_eq!(damage(&story, Now { boot: BOOT + 1, ..present }), Some(Damage::PowerCut));
    let clean = file(FileHeader { clean: true, ..head(0) }, &[]);
    assert_eq!(damage(&clean, Now { boot: BOOT + 1, ..present }), None);
    assert_eq!(damage(&story[..story.len() - CELL], present), Some(Damage::Truncated));
    assert_eq!(damage(&story[..story.len() - 1], present), Some(Damage::Truncated));
    for length in [0, 3, 20, CELL - 1] {
        assert_eq!(damage(&story[..length], present), Some(Damage::Truncated), "{length}");
    }
    assert_eq!(damage(&[0; 3 * CELL], present), Some(Damage::Head));
    let mut without_head = story.clone();
    without_head[..CELL].fill(0);
    assert_eq!(damage(&without_head, present), Some(Damage::Head));
    let mut zeroed = story.clone();
    zeroed[3 * CELL..4 * CELL].fill(0);
    assert_eq!(damage(&zeroed, present), Some(Damage::Cells(1)));
    let mut other = head(0).encode();
    other[16] += 1;
    let sum = budget::fnv1a(other[..CELL - 8].iter().copied());
    other[CELL - 8..].copy_from_slice(&sum.to_le_bytes());
    let other = [&other[..], &story[CELL..]].concat();
    assert_eq!(damage(&other, present), Some(Damage::Version));
    assert!(read(&other, present).expect("ours").found.is_empty(), "another version's cells are not read");
}

#[test]
fn being_held_back_outlives_another_crash() {
    let held = file(FileHeader { held_back: Some(at(4)), ..head(0) }, &[]);
    let image = read(&held, now(at(10))).expect("ours");
    assert_eq!(image.held_back.map(|held| held.timestamp), Some(timestamp(994)));
    assert_eq!(image.held_back.map(|held| held.at), Some(at(4)));
}

#[test]
fn somebody_elses_file_is_told_apart() {
    for foreign in
        [&b"listeners: [ { address: 127.0.0.1:8080 } ]\n"[..], b"x", b"\x7fELF\0\0\0\0\0\0\0\0\0\0\0\0\0"]
    {
        assert!(!is_ours(foreign) && read(foreign, now(at(0))).is_err());
    }
}

proptest! {
    /// After any change of its bytes, a file is refused, reported as damaged, or yields the same calls.
    #[test]
    fn no_damage_passes_for_the_truth(changes in prop::collection::vec((0usize..6 * CELL, 1u8..), 1..5), cut in 0usize..6 * CELL, is_cut: bool) {
        let (good, present) = (story(), now(at(10)));
        let mut bytes = good.clone();
        for (place, flip) in changes {
            bytes[place] ^= flip;
        }
        if is_cut {
            bytes.truncate(cut);
        }
        if bytes != good && let Ok(image) = read(&bytes, present) {
            prop_assert!(image.damage.is_some(), "{image:?}");
            prop_assert_eq!(image.held_back.map(|held| held.timestamp), Some(present.timestamp));
        }
    }

    #[test]
    fn any_bytes_can_be_read(tail in prop::collection::vec(any::<u8>(), 0..400), ours: bool, wall: u64, up: u64) {
        let bytes = if ours { [&story()[..CELL], &tail].concat() } else { tail };
        let _ = read(&bytes, Now { stamp: Stamp { wall, up }, ..now(at(0)) });
    }
}

fn key() -> VendorKey {
    VendorKey::new("a".into()).expect("a good key")
}

fn limit(limit: u32, window: Duration) -> BudgetLimit {
    BudgetLimit { limit: NonZeroU32::new(limit).expect("positive"), window, burst: None }
}

/// A simulated process: its clock, its budgets and, if it got the lock, the file.
struct Process {
    clock: Clock,
    budgets: Arc<Budgets>,
    ledger: Arc<Ledger>,
}

impl Process {
    fn start(path: &Path) -> Self {
        let (clock, budgets) = (Clock::start(), Arc::new(Budgets::default()));
        let ledger = Ledger::open(path, clock, &budgets).expect("a state file");
        ledger.wait_for_owner(&budgets, || ()).expect("a thread");
        Self { clock, budgets, ledger }
    }

    fn budget(&self, name: BudgetName) -> Arc<Budget> {
        self.budgets.open(&key(), name, limit(5, Duration::from_hours(1)), HORIZON)
    }

    fn used(&self, name: BudgetName) -> u32 {
        self.budget(name).status(self.clock.now()).used
    }

    fn begin(&self, names: &[BudgetName]) -> Result<Dispatched, NotWritten> {
        let mut budget_set = BudgetSet::default();
        for name in names {
            budget_set.add(self.budget(*name));
        }
        let requester = Requester::of(CallerNumber(0));
        let permit = budget::take(&budget_set, &requester, self.clock.now()).expect("room");
        Payment::new(permit, GivenSlots::new(), self.clock).dispatch(Some(&self.ledger))
    }

    fn settle(&self, call: Dispatched) {
        call.settle(self.clock.now(), RateHeaders::default(), BudgetName::Push);
    }

    /// Ends the process like kill -9: nothing more is written, and the lock is released.
    fn die(self) {
        self.ledger.enter(LedgerPhase::Gone);
        self.ledger.lock().file = None;
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("jpush-gateway-ledger-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_process_that_dies_leaves_every_call_to_the_next() {
    use BudgetName::{Broadcast, File, Push};
    let folder = Folder::new("dies");
    let first = Process::start(&folder.state());
    first.settle(first.begin(&[Push]).expect("written"));
    drop(first.begin(&[Push, Broadcast]).expect("written"));
    first.begin(&[File]).expect("written").refund();
    let left = first.begin(&[File, Push]).expect("written");
    first.die();
    drop(left);
    let second = Process::start(&folder.state());
    assert_eq!((second.used(Push), second.used(Broadcast), second.used(File)), (3, 1, 1));
    second.die();
    // Budgets opened later, as by a reload, get their calls as well, and nothing is counted twice.
    let third = Process::start(&folder.state());
    assert_eq!((third.used(File), third.used(Push), third.used(BudgetName::Device)), (1, 3, 0));
}

#[test]
fn cells_of_calls_that_count_no_more_are_written_over() {
    let folder = Folder::new("over");
    let process = Process::start(&folder.state());
    let short = limit(5, Duration::from_millis(1));
    let horizon = Horizon { guard: Duration::ZERO, ..HORIZON };
    let mut budget_set = BudgetSet::default();
    budget_set.add(process.budgets.open(&key(), BudgetName::Push, short, horizon));
    let requester = Requester::of(CallerNumber(0));
    let mut calls = 0;
    while calls < 500 {
        let Ok(permit) = budget::take(&budget_set, &requester, process.clock.now()) else {
            continue;
        };
        process.settle(
            Payment::new(permit, GivenSlots::new(), process.clock)
                .dispatch(Some(&process.ledger))
                .expect("written"),
        );
        calls += 1;
    }
    let length = fs::metadata(folder.state()).expect("a file").len();
    assert_eq!(length, 65 * CELL as u64, "the head and the cells it first grew by");
}

#[test]
fn only_one_process_has_the_file_and_the_next_gets_what_is_left() {
    use BudgetName::Push;
    let folder = Folder::new("two");
    let first = Process::start(&folder.state());
    first.settle(first.begin(&[Push]).expect("written"));
    let second = Process::start(&folder.state());
    assert!(!second.ledger.is_owned());
    assert_eq!(second.begin(&[Push]).err(), Some(NotWritten::NotOurs));
    assert_eq!(second.used(Push), 0, "the slot was given back");
    let still_out = first.begin(&[Push]).expect("written");
    first.ledger.hand_over();
    assert_eq!(first.begin(&[Push]).err(), Some(NotWritten::NotOurs));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), second.ledger.settled()).await.expect("handed over");
    });
    assert!(second.ledger.is_owned());
    assert_eq!(second.used(Push), 2);
    let standing = second.budget(Push).status(second.clock.now());
    assert_eq!(standing.remaining, 3);
    // The end is not written, because the file belongs to the other process by now.
    first.settle(still_out);
    second.begin(&[Push]).expect("written").refund();
    let bytes = fs::read(folder.state()).expect("a file");
    let image = read(&bytes, second.ledger.times.reading()).expect("ours");
    let ended: Vec<_> = image.found.iter().map(|found| found.call.state).collect();
    let attempt = u32::try_from(HORIZON.attempt.as_millis()).expect("small") + 1;
    assert_eq!(ended, [CallState::Settled, CallState::Left(attempt)]);
    assert_eq!(image.damage, None);
}

#[test]
fn a_damaged_file_holds_back_a_window_and_the_guard_and_is_mended() {
    let folder = Folder::new("damaged");
    let first = Process::start(&folder.state());
    first.settle(first.begin(&[BudgetName::Push]).expect("written"));
    first.die();
    let file = File::options().write(true).open(folder.state()).expect("the file");
    file.write_all_at(b"?", 3 * CELL as u64).expect("written");
    let second = Process::start(&folder.state());
    let standing = second.budget(BudgetName::Device).status(second.clock.now());
    assert_eq!((standing.limit, standing.remaining), (5, 0));
    let (hour, most) = (Duration::from_hours(1), Duration::from_hours(1) + HORIZON.guard);
    assert!(standing.reset > hour && standing.reset <= most + Duration::from_millis(1), "{standing:?}");
    second.die();
    let third = Process::start(&folder.state());
    let standing = third.budget(BudgetName::Device).status(third.clock.now());
    assert_eq!(standing.remaining, 0, "and it is known after another crash");
    let bytes = fs::read(folder.state()).expect("a file");
    let image = read(&bytes, third.ledger.times.reading()).expect("ours");
    assert_eq!((image.damage, image.broken.len()), (None, 0));
}

#[test]
fn what_cannot_be_written_is_not_dispatched() {
    let folder = Folder::new("full");
    let process = Process::start(&folder.state());
    // A file that accepts no more bytes, as on a full disk.
    let unwritable = Opened::unwritable(&folder.state());
    let written = process.ledger.lock().file.replace(unwritable);
    for _ in 0..3 {
        assert_eq!(process.begin(&[BudgetName::Push]).err(), Some(NotWritten::Failed));
    }
    assert_eq!(process.used(BudgetName::Push), 0, "the slots were given back");
    process.ledger.lock().file = written;
    process.settle(process.begin(&[BudgetName::Push]).expect("written"));
    process.die();
    assert_eq!(Process::start(&folder.state()).used(BudgetName::Push), 1);
}

#[test]
fn a_file_in_a_place_that_cannot_be_written_is_a_fault_that_names_it() {
    let folder = Folder::new("nowhere");
    let path = folder.0.join("no/state");
    let error = Ledger::open(&path, Clock::start(), &Budgets::default()).err().expect("no such folder");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    let foreign = Ledger::open(&folder.0, Clock::start(), &Budgets::default()).err().expect("a folder");
    assert!(foreign.to_string().contains(&folder.0.display().to_string()), "{foreign}");
}
