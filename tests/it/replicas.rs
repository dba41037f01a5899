//! Tests of three gateways that share their budgets in one Redis. Whatever happens to the store, to the connection to
//! it or to a replica, the vendor's simulator never counts one call too many, and no call hangs.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jpush_gateway::sandbox::Windows;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::support::{
    Authority, Config, Connection, Folder, Gateway, Keys, PATIENCE, Redis, Request, Simulator, Tokens, Wire,
    numbers, wait_until,
};

/// Of 30 slots, each replica owns two, and 24 are shared.
pub(crate) const BUDGETS: &str = "device: { limit: 30, window: 2s }";
const OWN: u64 = 2;
/// A lost store gives no slots for 500 ms + 2 s + 500 ms + 2 s.
pub(crate) const HOLD: Duration = Duration::from_secs(5);
const CALLERS: usize = 3;

pub(crate) fn tags() -> Request {
    Request::get("/v3/tags").bearer(Tokens::ORDERS).header("Connection", "close")
}

fn config(vendor: &Simulator, store: &str, sharing: &str) -> Config {
    config_with(vendor, &format!("url: \"{store}\", {sharing}"))
}

/// A configuration with these keys of `shared_budgets.redis`.
pub(crate) fn config_with(vendor: &Simulator, redis: &str) -> Config {
    let mut config = Config::new(&vendor.url());
    config.budgets = BUDGETS.into();
    config.vendor = "connect_timeout: 500ms, response_timeout: 2s".into();
    config.guard = "500ms";
    config.workers = 2;
    config.more = format!("shared_budgets: {{ redis: {{ {redis} }} }}");
    config
}

pub(crate) fn state(gateway: &Gateway) -> String {
    gateway.status()["store"].as_str().expect("a store").to_owned()
}

/// A replica and the counts of its callers.
pub(crate) struct Replica {
    pub(crate) gateway: Gateway,
    good: AtomicU64,
    answers: AtomicU64,
    /// Set before the replica is killed: calls may then end without an answer.
    doomed: AtomicBool,
}

impl Replica {
    fn start(config: &Config) -> Self {
        let gateway = Gateway::start(config);
        Self { gateway, good: AtomicU64::new(0), answers: AtomicU64::new(0), doomed: AtomicBool::new(false) }
    }

    /// Makes calls until `stop` is set. Every call is answered in time.
    fn hammer(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match self.call() {
                Ok(200) => self.good.fetch_add(1, Ordering::Relaxed),
                Ok(429) => 0,
                Ok(status) => panic!("{status}: {}", self.gateway.program.err()),
                Err(_) if self.doomed.load(Ordering::Relaxed) => return,
                Err(error) => panic!("no answer: {error}"),
            };
            self.answers.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    fn call(&self) -> io::Result<u16> {
        let stream = TcpStream::connect(self.gateway.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Connection::over(stream);
        connection.try_send(tags().bytes())?;
        Ok(connection.try_read_head()?.status)
    }

    /// Says that it will be killed.
    pub(crate) fn is_doomed(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }

    /// Waits for answers to calls that begin after now.
    pub(crate) fn answers_more(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        wait_until("answers", || self.answers.load(Ordering::Relaxed) > before + 2 * CALLERS as u64);
    }

    /// Waits for a call that succeeds after now.
    pub(crate) fn serves_more(&self) {
        let before = self.good.load(Ordering::Relaxed);
        wait_until("a call that passes", || self.good.load(Ordering::Relaxed) > before);
    }

    pub(crate) fn is(&self, wanted: &str) {
        wait_until(wanted, || state(&self.gateway) == wanted);
    }
}

/// Three replicas with one Redis, one of them through a wire that can be cut, while a test causes trouble.
fn with_fleet(windows: Windows, trouble: impl FnOnce(&mut Redis, &Wire, &[Replica])) {
    let mut redis = Redis::start();
    let (wire, vendor) = (Wire::to(redis.address), Simulator::with(BUDGETS, windows));
    let urls = [wire.url(), redis.url(), redis.url()];
    let configs = urls.map(|url| config(&vendor, &url, "local_share: 20%, replicas: 3"));
    under_load(&vendor, &configs, |replicas| trouble(&mut redis, &wire, replicas));
}

/// Replicas under load, while a test causes trouble. The vendor never counts one call too many.
pub(crate) fn under_load(vendor: &Simulator, configs: &[Config], trouble: impl FnOnce(&[Replica])) {
    let replicas: Vec<_> = configs.iter().map(Replica::start).collect();
    // With slow answers, the vendor counts a call long before the gateway knows it.
    vendor.fault(r#"{"operation":"tag-list","times":40,"kind":"delay","delay":"200ms"}"#);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Stops the callers also if an assertion fails, because the scope waits for them.
        let _stopping = Stopping(&stop);
        for replica in replicas.iter().flat_map(|replica| [replica; CALLERS]) {
            scope.spawn(|| replica.hammer(&stop));
        }
        all_are(&replicas, "up");
        shares(vendor);
        trouble(&replicas);
    });
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!(counts["refused"], 0, "{counts}");
    assert!(counts["max_in_any_window"].as_u64().is_some_and(|most| most <= 30), "{counts}");
}

pub(crate) fn all_are(replicas: &[Replica], wanted: &str) {
    for replica in replicas {
        replica.is(wanted);
    }
}

pub(crate) struct Stopping<'s>(pub(crate) &'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until the vendor counts more calls in a window than the replicas own.
fn shares(vendor: &Simulator) {
    wait_until("calls out of the shared part", || {
        vendor.counts(Keys::SHOP_APP, "device")["max_in_any_window"].as_u64() > Some(3 * OWN)
    });
}

/// Gives a window time to be overrun.
pub(crate) fn go_on_for(span: Duration) {
    std::thread::sleep(span);
}

fn normal(windows: Windows) {
    with_fleet(windows, |_, _, replicas| {
        go_on_for(2 * HOLD);
        replicas.iter().for_each(Replica::serves_more);
    });
}

#[test]
fn replicas_share_a_budget_of_fixed_windows() {
    normal(Windows::Fixed);
}

#[test]
fn replicas_share_a_budget_of_sliding_windows() {
    normal(Windows::Sliding);
}

#[test]
fn a_store_that_is_killed_leaves_each_replica_its_own_part() {
    with_fleet(Windows::Sliding, |redis, _, replicas| {
        redis.kill();
        for replica in replicas {
            replica.is("away");
            replica.answers_more();
            replica.serves_more();
        }
        go_on_for(HOLD);
        replicas.iter().for_each(Replica::serves_more);
    });
}

#[test]
fn a_caller_over_its_quota_takes_no_slots_from_others() {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let mut config = config(&vendor, &redis.url(), "local_share: 0%, replicas: 1");
    config.orders = "quota: { limit: 1, window: 1h }".into();
    let gateway = Gateway::start(&config);
    let modest = || gateway.call(&Request::get("/v3/tags").basic("shop", Tokens::BOTH)).status;
    wait_until("a slot in the store", || modest() == 200);
    assert_eq!(gateway.call(&tags()).status, 200, "all of its quota");
    go_on_for(Duration::from_secs(3));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stopping = Stopping(&stop);
        for _ in 0..30 {
            scope.spawn(|| {
                let request = Request::get("/v3/tags").bearer(Tokens::ORDERS);
                let mut connection = Connection::open(gateway.address());
                while !stop.load(Ordering::Relaxed) {
                    connection.call(&request).assert_refused(429, "quota-exhausted", 2002);
                }
            });
        }
        // Nobody else has any of the 30 slots.
        let passed = (0..25).filter(|_| modest() == 200).count();
        drop(stopping);
        assert_eq!(passed, 25);
    });
}

#[test]
fn an_answer_that_comes_late_concerns_its_call_alone() {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let gateway = Gateway::start(&config(&vendor, &redis.url(), "local_share: 0%, replicas: 1"));
    wait_until("a slot in the store", || gateway.call(&tags()).status == 200);
    for _ in 0..3 {
        redis.stall();
        assert_eq!(gateway.call(&tags()).status, 429, "there is no own part");
        redis.go_on();
        assert_eq!(gateway.call(&tags()).status, 200);
    }
    let log = gateway.program.err();
    assert!(!log.contains("is away"), "{log}");
    redis.stall();
    wait_until("enough late answers", || {
        assert_eq!(gateway.call(&tags()).status, 429);
        state(&gateway) == "away"
    });
    redis.go_on();
    wait_until("the store again", || gateway.call(&tags()).status == 200);
}

#[test]
fn a_store_that_stalls_is_gone_and_comes_back() {
    with_fleet(Windows::Fixed, |redis, _, replicas| {
        for _ in 0..2 {
            redis.stall();
            for replica in replicas {
                replica.is("away");
                replica.answers_more();
            }
            replicas.iter().for_each(Replica::serves_more);
            redis.go_on();
            // The store kept its run id: nothing was lost, and nothing is held back.
            all_are(replicas, "up");
            go_on_for(HOLD / 2);
        }
    });
}

#[test]
fn a_replica_that_is_cut_off_lives_on_its_own_part() {
    with_fleet(Windows::Sliding, |_, wire, replicas| {
        wire.cut();
        replicas[0].is("away");
        for replica in replicas {
            replica.answers_more();
            replica.serves_more();
        }
        assert_eq!(
            ["up", "up"],
            [state(&replicas[1].gateway), state(&replicas[2].gateway)].each_ref().map(String::as_str)
        );
        go_on_for(HOLD);
        wire.mend();
        replicas[0].is("up");
        go_on_for(HOLD / 2);
        replicas.iter().for_each(Replica::serves_more);
    });
}

#[test]
fn a_store_that_is_emptied_gives_nothing_until_what_it_forgot_is_over() {
    with_fleet(Windows::Sliding, |redis, _, replicas| {
        redis.command(&["FLUSHALL"]);
        all_are(replicas, "holding back");
        for replica in replicas {
            let labels = "{budget=\"device\",credential=\"app\",tenant=\"shop\"}";
            let gauge = format!("jpush_gateway_budget_holding_back{labels}");
            wait_until("the gauge", || replica.gateway.metric(&gauge) > 0.5);
            replica.gateway.log_line(&["WARN", "the store of the shared budgets does not know"]);
        }
        all_are(replicas, "up");
        go_on_for(HOLD / 2);
        replicas.iter().for_each(Replica::serves_more);
    });
}

#[test]
fn the_slots_of_a_killed_replica_stay_taken() {
    with_fleet(Windows::Sliding, |_, _, replicas| {
        replicas[0].is_doomed();
        replicas[0].gateway.program.signal("KILL");
        go_on_for(HOLD);
        replicas[1..].iter().for_each(Replica::serves_more);
    });
}

/// One replica with one slot of its own and one in the store.
fn lone(windows: Windows) -> (Redis, Simulator, Gateway) {
    let (redis, vendor) = (Redis::start(), Simulator::with("device: { limit: 2, window: 1s }", windows));
    let mut config = config(&vendor, &redis.url(), "local_share: 50%, replicas: 1");
    config.budgets = "device: { limit: 2, window: 1s }".into();
    let gateway = Gateway::start(&config);
    (redis, vendor, gateway)
}

fn use_up(gateway: &Gateway) -> u64 {
    loop {
        let answer = gateway.call(&tags());
        if answer.status == 429 {
            return answer.number("Retry-After");
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn a_lone_caller_that_waits_as_told_is_admitted() {
    let (_redis, vendor, gateway) = lone(Windows::Sliding);
    for _ in 0..4 {
        let wait = use_up(&gateway);
        assert!((1..=5).contains(&wait), "{wait}");
        std::thread::sleep(Duration::from_secs(wait));
        let answer = gateway.call(&tags());
        assert_eq!((answer.status, answer.number("X-Rate-Limit-Limit")), (200, 2), "{}", answer.text());
    }
    assert_eq!(vendor.counts(Keys::SHOP_APP, "device")["refused"], 0);
}

#[test]
fn who_waits_is_served_when_the_store_has_room_again() {
    // The replica owns no slots, so every call that succeeds got its slot from the store.
    let (redis, vendor) =
        (Redis::start(), Simulator::with("device: { limit: 3, window: 1s }", Windows::Sliding));
    let mut config = config(&vendor, &redis.url(), "local_share: 0%, replicas: 2");
    config.budgets = "device: { limit: 3, window: 1s }".into();
    config.limits = "deadline: 40s".into();
    let gateways = [Gateway::start(&config), Gateway::start(&config)];
    for gateway in &gateways {
        wait_until("up", || state(gateway) == "up");
    }
    std::thread::scope(|scope| {
        for number in 0..18 {
            let gateway = &gateways[number % 2];
            scope.spawn(move || {
                let answer = gateway.call(&tags().header("Prefer", "wait=30"));
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
    });
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert_eq!((&counts["total"], &counts["refused"]), (&18.into(), &0.into()), "{counts}");
    assert!(counts["max_in_any_window"].as_u64().is_some_and(|most| most <= 3), "{counts}");
}

#[test]
fn without_a_part_of_its_own_a_replica_refuses_while_the_store_is_away() {
    let (mut redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Fixed));
    let gateway = Gateway::start(&config(&vendor, &redis.url(), "local_share: 0%, replicas: 1"));
    wait_until("the shared part", || gateway.call(&tags()).status == 200);
    redis.kill();
    wait_until("the loss", || state(&gateway) == "away");
    let refused = gateway.call(&tags());
    refused.assert_refused(429, "budget-exhausted", 2002);
    assert!(
        refused.text().contains("is away, and the part of this one alone (0 calls)"),
        "{}",
        refused.text()
    );
    let start = Instant::now();
    assert_eq!(gateway.call(&tags().header("Prefer", "wait=2")).status, 429);
    assert!(start.elapsed() < PATIENCE);
    assert!(gateway.metric("jpush_gateway_store_up") < 0.5);
    redis.start_again();
    wait_until("the return", || gateway.metric("jpush_gateway_store_up") > 0.5);
    wait_until("the shared part", || gateway.call(&tags()).status == 200);
    redis.command(&["FLUSHALL"]);
    wait_until("a store that was found empty", || {
        let refused = gateway.call(&tags());
        refused.assert_refused(429, "budget-exhausted", 2002);
        refused.text().contains("holds it back, because it does not know which calls were made before")
    });
}

#[test]
fn replicas_that_divide_differently_get_nothing_out_of_the_shared_part() {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let one = Gateway::start(&config(&vendor, &redis.url(), "local_share: 20%, replicas: 3"));
    let other = Gateway::start(&config(&vendor, &redis.url(), "local_share: 30%, replicas: 3"));
    let start = Instant::now();
    // Longer than one of them alone is held back.
    while start.elapsed() < HOLD + HOLD / 2 {
        for gateway in [&one, &other] {
            assert!(matches!(gateway.call(&tags()).status, 200 | 429));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let counts = vendor.counts(Keys::SHOP_APP, "device");
    assert!(counts["max_in_any_window"].as_u64().is_some_and(|most| most <= 2 + 3), "{counts}");
    drop(other);
    wait_until("agreement", || state(&one) == "up");
    wait_until("the shared part", || {
        assert!(matches!(one.call(&tags()).status, 200 | 429));
        vendor.counts(Keys::SHOP_APP, "device")["max_in_any_window"].as_u64() > Some(5)
    });
}

#[test]
fn the_password_of_the_store_is_never_shown() {
    let redis = Redis::start();
    redis.command(&["CONFIG", "SET", "requirepass", "storePasswordForTests"]);
    let vendor = Simulator::with(BUDGETS, Windows::Fixed);
    for (password, wanted) in [("storePasswordForTests", "up"), ("wrongPasswordForTests", "away")] {
        let url = format!("redis://:{password}@{}", redis.address);
        let gateway = Gateway::start(&config(&vendor, &url, "local_share: 0%, replicas: 1"));
        let found = || {
            gateway.call(&tags());
            state(&gateway) == wanted
        };
        wait_until(wanted, found);
        if wanted == "away" {
            wait_until("the warning", || gateway.program.err().contains("cannot be reached"));
        }
        for text in [gateway.program.err(), gateway.program.out(), gateway.status().to_string()] {
            assert!(!text.contains("PasswordForTests"), "{text}");
        }
    }
}

#[test]
fn a_store_behind_tls_asks_for_a_user_and_a_password() {
    let authority = Authority::new();
    let (redis, address) = Redis::start_tls(&authority);
    redis.command(&["ACL", "SETUSER", "gateway", "on", ">passwordForTests", "~jpush-gateway:*", "+@all"]);
    redis.command(&["ACL", "SETUSER", "default", "off"]);
    let vendor = Simulator::with(BUDGETS, Windows::Fixed);
    let url = format!("rediss://gateway:passwordForTests@{address}");
    let folder = Folder::new();
    let with_ca = |ca: &Authority| {
        let file = folder.write("store-ca.pem", ca.pem());
        let sharing = format!("ca: {}, local_share: 0%, replicas: 1", file.display());
        Gateway::start(&config(&vendor, &url, &sharing))
    };
    let gateway = with_ca(&authority);
    wait_until("a call out of the shared part", || gateway.call(&tags()).status == 200);
    // The end of the hold was told by an answer, which took its time.
    wait_until("the end of the hold here", || state(&gateway) == "up");

    let stranger = with_ca(&Authority::new());
    stranger.log_line(&[
        "WARN",
        "the store of the shared budgets cannot be reached",
        "invalid peer certificate",
    ]);
    assert_eq!((state(&stranger), stranger.call(&tags()).status), ("away".into(), 429));
}

/// The scripts that the store runs.
const TAKE: &str = include_str!("../../src/store/take.lua");
const RENEW: &str = include_str!("../../src/store/renew.lua");
const RELEASE: &str = include_str!("../../src/store/release.lua");

/// A call that does not wait and cannot do without.
pub(crate) const PLAIN: [&str; 2] = ["must", ""];

/// One window in the store, with a clock that the test sets.
struct Scripts<'r> {
    redis: &'r Redis,
    key: String,
}

impl Scripts<'_> {
    /// Renews a slot, and returns whether it was still held.
    fn renew(&self, slot: usize, hold: Duration, now: Duration) -> bool {
        self.run(RENEW, &[slot.to_string(), hold.as_micros().to_string()], now) == [1]
    }

    fn run(&self, script: &str, arguments: &[String], now: Duration) -> Vec<i64> {
        // A take also names the calls that wait and the hash about the server's run.
        let all = [&self.key, "waiting", "runs"];
        let keys = if script == TAKE { &all[..] } else { &all[..1] };
        let now = u64::try_from(now.as_micros()).expect("it is not that late");
        numbers(&self.redis.connection().run_at(now, script, keys, arguments))
    }

    /// Takes a slot. Returns whether it was taken, how many are left, and the time until one more is free.
    fn take(&self, slot: usize, limit: u32, now: Duration) -> (bool, i64, i64) {
        let numbers = [limit.into(), 0, WINDOW.as_micros(), (ATTEMPT + GUARD + WINDOW).as_micros()];
        let mut arguments = vec![slot.to_string(), "run".to_owned(), "0".to_owned(), "replica".to_owned()];
        arguments.extend(numbers.map(|number| number.to_string()));
        arguments.extend(PLAIN.map(str::to_owned));
        let answer = self.run(TAKE, &arguments, now);
        (answer[0] == 1, answer[1], answer[2])
    }

    /// Releases a slot after `keep`; `None` releases it at once, as for a call that was not sent.
    fn release(&self, slot: usize, keep: Option<Duration>, now: Duration) {
        let keep = keep.map_or("-1".to_owned(), |keep| keep.as_micros().to_string());
        self.run(RELEASE, &[slot.to_string(), keep], now);
    }
}

const WINDOW: Duration = Duration::from_mins(1);
const GUARD: Duration = Duration::from_secs(10);
const ATTEMPT: Duration = Duration::from_secs(28);

/// A model of the window's promise: the end of every slot that is held.
#[derive(Default)]
struct Model {
    ends: BTreeMap<usize, Duration>,
}

impl Model {
    fn used(&mut self, now: Duration) -> usize {
        self.ends.retain(|_, end| *end >= now);
        self.ends.len()
    }
}

#[test]
fn a_server_that_took_over_holds_back_for_as_long_as_its_predecessor_may_have_gone_on() {
    let redis = Redis::start();
    let scripts = Scripts { redis: &redis, key: "taken over".into() };
    let (hold, now) = (ATTEMPT + GUARD + WINDOW, Duration::from_hours(500_000));
    let take = |run: &str, while_two: Duration, now: Duration| {
        let numbers = [5, 0, WINDOW.as_micros(), hold.as_micros()].map(|number| number.to_string());
        let first =
            ["slot".to_owned(), run.to_owned(), while_two.as_micros().to_string(), "replica".to_owned()];
        let arguments = first.into_iter().chain(numbers).chain(PLAIN.map(str::to_owned));
        scripts.run(TAKE, &arguments.collect::<Vec<_>>(), now)[0]
    };
    let trust = Duration::from_secs(3);
    assert_eq!([now, now + hold].map(|now| take("old", Duration::ZERO, now)), [0, 1]);
    let found = now + hold;
    let ready = found + hold + trust;
    let before = ready.saturating_sub(Duration::from_micros(1));
    assert_eq!([found, before, ready].map(|now| take("new", trust, now)), [0, 0, 1]);
}

#[test]
fn a_budget_is_held_back_for_what_may_be_missing_and_no_longer() {
    let redis = Redis::start();
    let start = Duration::from_hours(500_000);
    let held = |key: &str, run: &str, window: Duration, attempt: Duration, now: Duration| {
        let scripts = Scripts { redis: &redis, key: key.to_owned() };
        let hold = attempt + GUARD + window;
        let numbers = [50, 0, window.as_micros(), hold.as_micros()].map(|number| number.to_string());
        let slot = [now.as_micros().to_string(), run.to_owned(), "0".to_owned(), "replica".to_owned()];
        let arguments = slot.into_iter().chain(numbers).chain(PLAIN.map(str::to_owned));
        let answer = scripts.run(TAKE, &arguments.collect::<Vec<_>>(), now);
        assert_eq!(answer[0] == 1, answer[2] >= 0, "{answer:?}");
        Duration::from_micros(u64::try_from(-answer[2]).unwrap_or(0))
    };
    let day = Duration::from_hours(24);
    let (minute_hold, day_hold) = (ATTEMPT + GUARD + WINDOW, ATTEMPT + GUARD + day);
    let none = Duration::ZERO;
    // The run is new, so what was taken before it is unknown.
    assert_eq!(held("push", "a", WINDOW, ATTEMPT, start), minute_hold);
    let later = start + minute_hold;
    assert_eq!(held("push", "a", WINDOW, ATTEMPT, later), none);
    // Nothing can have been taken of a budget that was never used in this run.
    assert_eq!(held("file", "a", WINDOW, ATTEMPT, later), none);
    assert_eq!(
        held("broadcast", "a", day, ATTEMPT, later),
        day_hold.saturating_sub(minute_hold),
        "a day since its beginning"
    );
    assert_eq!(held("oppo_big", "a", day, ATTEMPT, start + day_hold), none);
    // Another time-out changes how long slots are held, not which are known.
    let longer = ATTEMPT + Duration::from_millis(100);
    assert_eq!(held("push", "a", WINDOW, longer, later + Duration::from_millis(100)), none);
    // A set that was used and is gone, and one that other replicas divide in another way, may miss slots.
    redis.command(&["DEL", "push"]);
    let lost = start + 2 * day_hold;
    assert_eq!(held("push", "a", WINDOW, ATTEMPT, lost), minute_hold);
    assert_eq!(held("file", "a", 2 * WINDOW, ATTEMPT, lost), minute_hold + WINDOW, "another window");
    // Another run, and a store that was emptied, know of nothing.
    for run in ["b", "c"] {
        assert_eq!(held("oppo_big", run, day, ATTEMPT, lost), day_hold, "{run}");
        redis.command(&["FLUSHALL"]);
    }
    assert_eq!(held("broadcast", "c", day, ATTEMPT, lost), day_hold);
}

#[test]
fn another_time_out_holds_nothing_back() {
    let (redis, vendor) = (Redis::start(), Simulator::with(BUDGETS, Windows::Sliding));
    let mut config = config(&vendor, &redis.url(), "local_share: 0%, replicas: 1");
    let gateway = Gateway::start(&config);
    wait_until("a slot in the store", || gateway.call(&tags()).status == 200);
    // The end of the hold was told by an answer, which took its time.
    wait_until("the end of the hold here", || state(&gateway) == "up");
    config.vendor = config.vendor.replace("response_timeout: 2s", "response_timeout: 2100ms");
    go_on_for(Duration::from_millis(100));
    gateway.write_config(&config.yaml());
    assert_eq!(gateway.reload().status, 200);
    assert_eq!((gateway.call(&tags()).status, state(&gateway)), (200, "up".to_owned()));
}

/// Random sequences of takes, answers, refunds, given-up attempts, renewals and crashes.
#[test]
fn the_store_counts_as_the_window_does() {
    let redis = Redis::start();
    let case = AtomicU64::new(0);
    let steps = proptest::collection::vec((0_u64..20_000_000, 0_usize..7, 0_usize..8), 1..60);
    let mut runner = TestRunner::new(Cases { failure_persistence: None, ..Cases::with_cases(24) });
    let law = |steps: Vec<(u64, usize, usize)>| {
        let key = format!("law-{}", case.fetch_add(1, Ordering::Relaxed));
        follow(&Scripts { redis: &redis, key }, &steps);
        Ok(())
    };
    runner.run(&steps, law).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Follows the steps: microseconds that pass, the action, and the call in flight that it concerns.
fn follow(scripts: &Scripts<'_>, steps: &[(u64, usize, usize)]) {
    const LIMIT: u32 = 5;
    let hold = ATTEMPT + GUARD + WINDOW;
    let (mut model, mut now) = (Model::default(), Duration::from_hours(500_000));
    let held_back = i64::try_from(hold.as_micros()).expect("small");
    assert_eq!(scripts.take(usize::MAX, LIMIT, now), (false, 0, -held_back));
    now += hold;
    let mut in_flight = Vec::new();
    for (slot, (passed, kind, which)) in steps.iter().enumerate() {
        now += Duration::from_micros(*passed);
        let used = model.used(now);
        let ends_now = *kind < 3 && !in_flight.is_empty();
        if ends_now {
            let slot = in_flight.swap_remove(which % in_flight.len());
            let keep = [None, Some(WINDOW), Some(GUARD + WINDOW)][*kind];
            scripts.release(slot, keep, now);
            match (model.ends.get_mut(&slot), keep) {
                (Some(end), Some(keep)) => *end = (*end).min(now + keep),
                _ => drop(model.ends.remove(&slot)),
            }
            continue;
        }
        if *kind == 3 && !in_flight.is_empty() {
            let slot = in_flight[which % in_flight.len()];
            assert_eq!(scripts.renew(slot, hold, now), model.ends.contains_key(&slot));
            model.ends.entry(slot).and_modify(|end| *end = now + hold);
            continue;
        }
        let (taken, free, wait) = scripts.take(slot, LIMIT, now);
        assert_eq!(taken, used < LIMIT as usize, "{used} used");
        if taken {
            model.ends.insert(slot, now + hold);
            in_flight.push(slot);
        }
        assert_eq!(usize::try_from(free).expect("not negative"), LIMIT as usize - model.used(now));
        // Exactly after this wait one more slot is free, and not before.
        let next = *model.ends.values().min().expect("a slot was taken now or before");
        assert_eq!(u128::try_from(wait).expect("not held back"), next.abs_diff(now).as_micros() + 1);
    }
}
