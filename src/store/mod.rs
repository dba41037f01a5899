//! The part of the budgets that replicas share, kept in Redis or Valkey.
//!
//! The store counts by the same window as a process (`take.lua`), on its own clock: a slot is held until the head of
//! the vendor's answer, and then for one window more. A slot is taken for the longest time that a call can matter, so
//! that it expires by itself when its replica is gone; the answer shortens the time. Lost messages are safe: a slot
//! whose take was not answered in time is never used, and a lost release keeps its slot held.
//!
//! A waiting call takes its slots one after the other, and renews them once it has all (`renew.lua`).
//!
//! A call waits for the store for [`ANSWER_MAX`] and then uses only the replica's own part. After some such answers in a
//! row the store counts as unavailable, and no call asks it until it answers again.

#![warn(clippy::wildcard_enum_match_arm)]

mod broken_calls;
mod claims;
mod connection;
mod current;
mod given_slots;
mod hash_slot;
mod held_slots;
mod link;
mod progress;
mod registration;
mod releases;
mod replica_list;
mod scripts;
mod servers;
mod slots;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Client, RedisConnectionInfo, ScriptInvocation, TlsCertificates};
use smallvec::SmallVec;
use tokio::sync::mpsc;

pub use broken_calls::{BreakableCall, BrokenCall};
pub use claims::SharedClaim;
use connection::Told;
use current::CurrentServers;
pub use given_slots::GivenSlots;
use held_slots::HeldSlots;
use link::Link;
use progress::{Stage, ThreadProgress};
use registration::Registration;
use releases::Releases;
use replica_list::ReplicaList;
use scripts::Scripts;
use servers::{Servers, TRUST};
pub use slots::Slots;
use slots::{Release, SlotEnd};

use crate::budget::{Clock, GrantedMask, Horizon, OwnParts, SlotRequest, SlotRequests, StoreStatus};
use crate::config::{SharedBudgets, StoreServers};
use crate::secret::Secret;

/// The longest time for an answer of the store; after it the call does without.
pub const ANSWER_MAX: Duration = Duration::from_millis(100);
/// The longest that a start waits for the store.
const FIRST_LOOK_MAX: Duration = Duration::from_millis(1500);
/// The most releases that wait to be sent. A slot whose release finds no room expires by itself.
const RELEASES_MAX: usize = 16 * 1024;
/// The key of what is known about the server's run.
const RUNS_KEY: &str = "jpush-gateway:runs";

/// The reason why the store cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not valid. The checked configuration should have refused it.
    #[error("the URL of the store is not one")]
    Url,
    /// The trust roots cannot be read.
    #[error("shared_budgets.redis.ca cannot be read")]
    Roots(#[source] std::io::Error),
    /// The store's thread cannot be started.
    #[error("no thread for the store")]
    Thread(#[from] std::io::Error),
}

/// The store as one process uses it.
pub struct Store {
    current: Arc<CurrentServers>,
    releases: mpsc::Sender<Release>,
    progress: Arc<ThreadProgress>,
    held_slots: Arc<HeldSlots>,
    scripts: Arc<Scripts>,
    /// Makes the slot names of this process different from those of others.
    process: String,
    next: AtomicU64,
    /// Whether the keys are spread over several servers.
    is_spread: bool,
    /// For how long after another server took over slots may still be taken from the one before.
    while_two: Duration,
}

/// The state of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It answers and grants slots.
    Up,
    /// It answers, but grants nothing yet in at least one budget, because it lost its former counts.
    HoldingBack,
    /// It does not answer.
    Away,
}

impl StoreState {
    /// The state as a word on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::HoldingBack => "holding back",
            Self::Away => "away",
        }
    }
}

/// The store's answer to a request for slots.
pub struct StoreAnswer {
    /// The slots that were granted, if any.
    pub slots: Option<Box<Slots>>,
    /// The status of each budget in the store; empty if the store is unavailable.
    pub statuses: SmallVec<[StoreStatus; 1]>,
}

impl Store {
    /// Starts a thread that connects to the store. `own_parts` are those of budgets that are open already.
    pub fn start(shared: &SharedBudgets, own_parts: &Arc<OwnParts>) -> Result<Arc<Self>, StoreError> {
        let is_spread = matches!(shared.servers, StoreServers::Cluster(_));
        let servers = servers(shared)?;
        let while_two = if servers.can_change() { TRUST } else { Duration::ZERO };
        let scripts = Arc::<Scripts>::default();
        let (releases, waiting) = mpsc::channel(RELEASES_MAX);
        let process = uuid::Uuid::new_v4().simple().to_string();
        let current = Arc::new(CurrentServers::default());
        let held_slots = Arc::<HeldSlots>::default();
        let replicas = shared.shares.replicas.get();
        let registration = Registration::new(&scripts, &held_slots, &process, replicas);
        let replica_list = ReplicaList::new(&scripts, own_parts, &process, replicas);
        let (waiting, progress) =
            (Releases::new(waiting, &scripts, &process), Arc::<ThreadProgress>::default());
        let told = (Told { registration, replica_list }, Arc::clone(&progress));
        connection::start(servers, Arc::clone(&current), waiting, told)?;
        Ok(Arc::new(Self {
            current,
            releases,
            progress,
            held_slots,
            scripts,
            process,
            next: AtomicU64::new(0),
            is_spread,
            while_two,
        }))
    }

    /// Blocks until the store was found, or not, so that it is known whether own parts may be used.
    pub fn wait_for_first_look(&self) {
        self.progress.wait_for(Stage::Looked, FIRST_LOOK_MAX);
    }

    /// Tells the store that this replica ends, and blocks meanwhile.
    pub fn leave(&self) {
        self.progress.leave.notify_one();
        self.progress.wait_for(Stage::Left, 2 * ANSWER_MAX);
    }

    /// The present state of the store.
    pub fn state(&self) -> StoreState {
        self.current.state()
    }

    /// Takes one slot in every requested budget, or none. Returns within [`ANSWER_MAX`].
    pub async fn take(
        self: &Arc<Self>,
        slot_requests: &SlotRequests,
        horizon: Horizon,
        clock: Clock,
    ) -> StoreAnswer {
        let away = || StoreAnswer { slots: None, statuses: SmallVec::new() };
        // Before the connection is chosen and anything is sent, so that it is earlier than the end of the hold in the store.
        let ends = SlotEnd::after(horizon.attempt);
        let Some(key) = slot_requests.first().map(|want| &want.key) else { return away() };
        let Some(link) = self.current.link(key) else { return away() };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // Created before anything is sent: a caller that stops waiting for the answer drops the slots, which releases
        // whatever was taken.
        let budgets = slot_requests.iter().map(|want| Some((Arc::clone(&want.key), want.window))).collect();
        self.held_slots
            .hold(id, slot_requests.iter().map(|want| (&want.key, longest_hold(horizon, want.window))));
        let mut slots = Box::new(Slots {
            store: Arc::clone(self),
            id,
            budgets,
            granted: GrantedMask::default(),
            guard: horizon.guard,
            ends,
        });
        let invocation = self.invocation(id, slot_requests, horizon, &link);
        let Some(answer) = self.invoke::<Vec<i64>>(&link, key, &invocation).await else { return away() };
        let (now, mut statuses) = (clock.now(), SmallVec::new());
        for (place, said) in answer.chunks_exact(3).take(slot_requests.len()).enumerate() {
            if said[0] == 1 {
                slots.granted.add(place);
            } else if let Some((key, _)) = slots.budgets[place].take() {
                self.held_slots.release(id, &key);
            }
            let (held_back, left) = (said[2] < 0, Duration::from_micros(said[2].unsigned_abs()));
            if held_back {
                self.current.held_back(left);
            }
            let free = u32::try_from(said[1]).unwrap_or(0);
            statuses.push(StoreStatus { free, next: now + left, held_back });
        }
        StoreAnswer { slots: (!slots.granted.is_empty()).then_some(slots), statuses }
    }

    /// Extends the hold of all slots as if they were taken now, or of none; `false` if one has expired or the store is
    /// unavailable.
    async fn renew(&self, slots: &mut [Box<Slots>], horizon: Horizon) -> bool {
        let ends = SlotEnd::after(horizon.attempt);
        let keys = slots.iter().flat_map(|one| one.budgets.iter().flatten());
        // All of one call are of one vendor key, and so on one server.
        let Some(key) = keys.map(|(key, _)| Arc::clone(key)).next() else { return false };
        let Some(link) = self.current.link(&key) else { return false };
        let mut invocation = self.scripts.renew.prepare_invoke();
        for one in slots.iter() {
            let held =
                || one.budgets.iter().flatten().map(|(key, window)| (key, longest_hold(horizon, *window)));
            self.held_slots.hold(one.id, held());
            for (key, hold) in held() {
                invocation.key(&**key).arg(slot_name(&self.process, one.id)).arg(micros(hold));
            }
        }
        let is_renewed = self.invoke::<i64>(&link, &key, &invocation).await == Some(1);
        if is_renewed {
            for one in slots {
                (one.ends, one.guard) = (ends, horizon.guard);
            }
        }
        is_renewed
    }

    fn invocation(
        &self,
        id: u64,
        slot_requests: &SlotRequests,
        horizon: Horizon,
        link: &Link,
    ) -> ScriptInvocation<'_> {
        let mut invocation = self.scripts.take.prepare_invoke();
        invocation.arg(slot_name(&self.process, id)).arg(&link.run).arg(micros(self.while_two));
        invocation.arg(&self.process);
        for SlotRequest { key, waiting_key, limit, own, window, need, turn } in slot_requests {
            let hold = longest_hold(horizon, *window);
            invocation.key(&**key).key(&**waiting_key).arg(*limit).arg(*own);
            invocation.arg(micros(*window)).arg(micros(hold)).arg(need.as_str()).arg(turn.to_string());
        }
        invocation.key(self.runs_key(slot_requests.first().map_or("", |want| &want.key)));
        invocation
    }

    /// The key of what is known about the server's run: one for all budgets, or where the keys are spread over several
    /// servers, one for those of each vendor key, which are on one.
    fn runs_key<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match key.split_once('}') {
            Some((vendor_key, _)) if self.is_spread => format!("{vendor_key}}}:runs").into(),
            Some(_) | None => RUNS_KEY.into(),
        }
    }
}

fn servers(shared: &SharedBudgets) -> Result<Servers, StoreError> {
    let roots = shared.ca.as_ref().map(std::fs::read).transpose().map_err(StoreError::Roots)?;
    let open = |url: &Secret| client(url, roots.clone());
    let open_all = |urls: &[Secret]| urls.iter().map(open).collect::<Result<Vec<_>, _>>();
    let servers = match &shared.servers {
        StoreServers::One(url) => Some(Servers::one(&open(url)?)),
        StoreServers::Cluster(urls) => Servers::of_cluster(&open_all(urls)?),
        StoreServers::Sentinel { urls, master, user, password } => {
            let mut settings = RedisConnectionInfo::default();
            if let Some(user) = user {
                settings = settings.set_username(user);
            }
            if let Some(password) = password {
                settings = settings.set_password(password.expose());
            }
            Servers::of_sentinels(&open_all(urls)?, master.clone(), settings)
        }
    };
    servers.ok_or(StoreError::Url)
}

fn client(url: &Secret, roots: Option<Vec<u8>>) -> Result<Client, StoreError> {
    let client = match roots {
        None => Client::open(url.expose()),
        root_cert => Client::build_with_tls(url.expose(), TlsCertificates { client_tls: None, root_cert }),
    };
    client.map_err(|_| StoreError::Url)
}

/// How long a slot is held that is taken now, if nothing is heard of its call.
fn longest_hold(horizon: Horizon, window: Duration) -> Duration {
    horizon.attempt + horizon.guard + window
}

fn slot_name(process: &str, id: u64) -> String {
    format!("{process}-{id}")
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Runs a task that nobody waits for; without a runtime, as in the drop of a whole process, nothing is told.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
}
