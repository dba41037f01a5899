//! Tests of a store of several servers, of which one takes the place of another, and of keys that a server refuses.
//! Whatever happens, the vendor's simulator never counts one call too many.

use std::time::Duration;

use jpush_gateway::sandbox::Windows;

use crate::replicas::{BUDGETS, HOLD, Replica, all_are, config_with, go_on_for, state, tags, under_load};
use crate::support::{Cluster, Gateway, Keys, Redis, Request, Sentinels, Simulator, Tokens, wait_until};

/// A server that took over gives nothing for three seconds more than an emptied one.
const TAKEN_OVER: Duration = Duration::from_secs(3);
const PASSWORD: &str = "groupPasswordForTests";

fn with_sentinels(trouble: impl FnOnce(&mut Sentinels, &[Replica])) {
    let mut group = Sentinels::start(PASSWORD);
    let vendor = Simulator::with(BUDGETS, Windows::Sliding);
    let keys = format!(
        "sentinel: {{ urls: {}, master: main, password: {{ value: {PASSWORD} }} }}, local_share: 20%, replicas: 3",
        group.urls()
    );
    let configs = [(); 3].map(|()| config_with(&vendor, &keys));
    under_load(&vendor, &configs, |replicas| trouble(&mut group, replicas));
}

/// Waits for the line of the log: the failover may be over before the state is looked at.
fn was_away(replica: &Replica) {
    replica.gateway.log_line(&["WARN", "the store of the shared budgets is away"]);
}

/// The store is found again by itself, gives nothing at first, and then does.
fn comes_back(replicas: &[Replica]) {
    all_are(replicas, "holding back");
    go_on_for(TAKEN_OVER + HOLD / 2);
    all_are(replicas, "up");
    go_on_for(HOLD / 2);
    replicas.iter().for_each(Replica::serves_more);
}

#[test]
fn a_server_that_sentinels_promote_takes_over() {
    with_sentinels(|group, replicas| {
        group.master.kill();
        for replica in replicas {
            was_away(replica);
            replica.serves_more();
        }
        group.replica_took_over();
        comes_back(replicas);
    });
}

#[test]
fn a_server_that_wakes_after_another_took_over_is_not_used() {
    with_sentinels(|group, replicas| {
        group.master.stall();
        group.replica_took_over();
        group.master.go_on();
        comes_back(replicas);
        let log = replicas[0].gateway.program.err();
        assert!(log.contains(&format!("server=\"127.0.0.1:{}\"", group.replica.port())), "{log}");
    });
}

fn device_key() -> String {
    format!("jpush-gateway:{{{}}}:device", Keys::SHOP_APP)
}

#[test]
fn a_server_of_a_cluster_is_replaced_by_its_replica() {
    let mut cluster = Cluster::start(&device_key());
    let vendor = Simulator::with(BUDGETS, Windows::Sliding);
    let keys = format!("urls: {}, cluster: true, local_share: 20%, replicas: 3", cluster.urls());
    let configs = [(); 3].map(|()| config_with(&vendor, &keys));
    under_load(&vendor, &configs, |replicas| {
        let holder = cluster.holder;
        cluster.servers[holder].kill();
        for replica in replicas {
            was_away(replica);
            replica.serves_more();
        }
        wait_until("the failover", || cluster.replica.command(&["ROLE"]).contains("master"));
        comes_back(replicas);
    });
    assert!(cluster.replica.command(&["EXISTS", &device_key()]).contains('1'));
}

fn schedules() -> Request {
    Request::get("/v3/schedules").bearer(Tokens::ORDERS)
}

#[test]
fn a_key_that_the_store_refuses_takes_nothing_from_the_others() {
    let redis = Redis::start();
    let budgets = "device: { limit: 1000, window: 1s }, schedule: { limit: 10, window: 1s }";
    let vendor = Simulator::with(budgets, Windows::Sliding);
    let mut config = config_with(&vendor, &format!("url: \"{}\", local_share: 0%, replicas: 1", redis.url()));
    config.budgets = budgets.into();
    let gateway = Gateway::start(&config);
    for request in [tags(), schedules()] {
        wait_until("a slot in the store", || gateway.call(&request).status == 200);
    }
    let key = format!("jpush-gateway:{{{}}}:schedule", Keys::SHOP_APP);
    let refused = |cause: &str| {
        for _ in 0..20 {
            assert_eq!(gateway.call(&schedules()).status, 429);
            assert_eq!(gateway.call(&tags()).status, 200);
        }
        assert_eq!(state(&gateway), "up");
        gateway.log_line(&["WARN", "the store refuses the key of a shared budget", &key, cause]);
    };

    // Its taking is answered before the key goes bad, and its release is refused after.
    vendor.fault(r#"{"operation":"schedule-list","times":1,"kind":"delay","delay":"500ms"}"#);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| gateway.call(&schedules()).status);
        go_on_for(Duration::from_millis(250));
        redis.command(&["SET", &key, "something"]);
        assert_eq!(call.join().expect("an answer"), 200);
    });
    refused("WRONGTYPE");
    redis.command(&["DEL", &key]);
    wait_until("the key is good again", || gateway.call(&schedules()).status == 200);
    let log = gateway.program.err();
    assert!(!log.contains("is away"), "{log}");
    assert_eq!(log.matches("the store refuses the key").count(), 1, "{log}");
}

#[test]
fn rights_to_a_single_key_are_that_key_s_matter() {
    let redis = Redis::start();
    let device = format!("~{}*", device_key());
    redis.command(&[
        "ACL",
        "SETUSER",
        "gateway",
        "on",
        ">passwordForTests",
        "+@all",
        &device,
        "~jpush-gateway:runs",
    ]);
    let vendor = Simulator::with("device: { limit: 1000, window: 1s }", Windows::Sliding);
    let url = format!("redis://gateway:passwordForTests@{}", redis.address);
    let gateway =
        Gateway::start(&config_with(&vendor, &format!("url: \"{url}\", local_share: 0%, replicas: 1")));
    wait_until("a slot in the store", || gateway.call(&tags()).status == 200);
    for _ in 0..20 {
        assert_eq!(gateway.call(&schedules()).status, 429);
    }
    gateway.log_line(&["WARN", "the store refuses the key of a shared budget", "NoPerm"]);
    assert_eq!((state(&gateway), gateway.call(&tags()).status), ("up".into(), 200));
    assert!(!gateway.program.err().contains("is away"));
}
