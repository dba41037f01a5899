//! Replicas that decide over one budget in one Redis, each a process of its own: `cargo bench --bench replicas`. First two,
//! then fifty of them.
//!
//! Starts a `redis-server` of its own on a free loopback port and ends it again. A decision is what a call waits for
//! before it is dispatched, here under 32 callers at once in two replicas and a hundred in fifty; every one is followed by its release, as
//! if the vendor had answered at once. The budget never runs out: a refusal is a shorter way.

use std::env;
use std::io::Read;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jpush_gateway::body_reader::Presence;
use jpush_gateway::budget::{
    Budget, BudgetSet, Budgets, CallerNumber, Clock, Horizon, RateHeaders, Requester,
};
use jpush_gateway::config::{BudgetLimit, SharedBudgets, Shares, StoreServers, VendorKey};
use jpush_gateway::operation::BudgetName;
use jpush_gateway::secret::Secret;
use jpush_gateway::store::Store;
use jpush_gateway::waiting::{WaitOutcome, Waiting};

/// The number of replicas, and of callers in each.
const FLEETS: [(u32, u32); 2] = [(2, 16), (50, 2)];
const WARM_UP: Duration = Duration::from_secs(3);
/// So that what a new store holds back is over in the warm-up.
const HORIZON: Horizon = Horizon { guard: Duration::ZERO, attempt: Duration::from_secs(1) };
const WINDOW: Duration = Duration::from_secs(1);
const URL: &str = "REPLICAS_BENCH_URL";
const FLEET: &str = "REPLICAS_BENCH_FLEET";

/// Ends a program of ours, however this one ends.
struct Ours(Child);

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    if let Ok(url) = env::var(URL) {
        let fleet =
            env::var(FLEET).ok().and_then(|number| FLEETS.get(number.parse::<usize>().ok()?).copied());
        return replica(url, fleet.expect("a fleet"));
    }
    (0..FLEETS.len()).for_each(run);
}

fn run(number: usize) {
    let (_redis, url) = start_redis();
    let program = env::current_exe().expect("this program");
    let (replicas, callers) = FLEETS[number];
    let replicas = (0..replicas).map(|_| {
        let mut command = Command::new(&program);
        command.args(env::args().skip(1)).env(URL, &url).env(FLEET, number.to_string());
        Ours(command.stdout(Stdio::piped()).spawn().expect("a replica starts"))
    });
    let mut replicas: Vec<_> = replicas.collect();
    let mut took = Vec::new();
    for Ours(replica) in &mut replicas {
        let mut text = String::new();
        replica.stdout.take().expect("piped").read_to_string(&mut text).expect("what its decisions took");
        took.extend(text.split_whitespace().map(|micros| micros.parse::<u64>().expect("microseconds")));
    }
    took.sort_unstable();
    let quantile = |thousandths: usize| took[(took.len() - 1) * thousandths / 1000];
    report(&format!(
        "{} replicas with {callers} callers each: {} decisions a second, median {} us, p99 {} us, p99.9 {} us\n",
        replicas.len(),
        took.len() as u64 / measured().as_secs(),
        quantile(500),
        quantile(990),
        quantile(999),
    ));
}

/// `cargo test --benches` wants to see it run; its figures say nothing.
fn measured() -> Duration {
    let is_bench = env::args().any(|argument| argument == "--bench");
    Duration::from_secs(if is_bench { 10 } else { 1 })
}

#[expect(clippy::print_stdout, reason = "a bench reports so")]
fn report(line: &str) {
    print!("{line}");
}

fn start_redis() -> (Ours, String) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
    let redis = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
    (Ours(redis), format!("redis://127.0.0.1:{port}"))
}

fn replica(url: String, (replicas, callers): (u32, u32)) {
    // Nothing of its own, so that every decision is the store's.
    let shares = Shares { local_percent: 0, replicas: NonZeroU32::new(replicas).expect("some") };
    let settings =
        SharedBudgets { servers: StoreServers::One(Secret::new(url).expect("a URL")), ca: None, shares };
    let key = VendorKey::new("key".into()).expect("a key");
    let limit = BudgetLimit { limit: NonZeroU32::MAX, window: WINDOW, burst: None };
    let budgets = Budgets::shared(Some(shares));
    let budget = budgets.open(&key, BudgetName::Push, limit, HORIZON);
    let store = Store::start(&settings, budgets.own_parts()).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let clock = Clock::start();
    let tasks = (0..callers).map(|_| runtime.spawn(caller(Arc::clone(&budget), Arc::clone(&store), clock)));
    let tasks: Vec<_> = tasks.collect();
    let took = runtime.block_on(futures_util::future::try_join_all(tasks)).expect("no caller panics");
    let took: Vec<_> = took.concat().iter().map(|took| took.as_micros().to_string()).collect();
    report(&took.join(" "));
}

/// How long the decisions of one caller took.
async fn caller(budget: Arc<Budget>, store: Arc<Store>, clock: Clock) -> Vec<Duration> {
    let mut budget_set = BudgetSet::default();
    budget_set.add(budget);
    let requester = Requester::of(CallerNumber(0));
    let presence = Presence::default();
    let (start, end, mut took) = (Instant::now(), WARM_UP + measured(), Vec::new());
    loop {
        let now = Instant::now();
        let asking = Waiting {
            budget_set: &budget_set,
            requester: &requester,
            clock,
            store: Some((&store, HORIZON)),
            until: now,
            presence: &presence,
        };
        let outcome = asking.ask(now).await;
        let done = Instant::now();
        match outcome {
            WaitOutcome::Paid(payment) => {
                let call = payment.dispatch(None).expect("no state file");
                call.settle(clock.at(done), RateHeaders::default(), BudgetName::Push);
            }
            _ if done - start < WARM_UP => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => panic!("the store gave nothing"),
        }
        if done - start > end {
            return took;
        }
        if done - start > WARM_UP {
            took.push(done - now);
        }
    }
}
