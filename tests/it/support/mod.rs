//! Support for these tests: a gateway process, a raw client, and vendors that behave or fail.

mod client;
mod config;
mod folder;
mod gateway;
mod load;
mod names;
mod redis;
mod redis_groups;
mod sandbox;
mod stub;
mod tls;
pub(crate) mod wire;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub(crate) use client::{Answer, Connection, Request, basic};
pub(crate) use config::{Config, Keys, Tokens, sha256_hex};
pub(crate) use folder::Folder;
pub(crate) use gateway::{Gateway, Program, serve, start_failing};
pub(crate) use load::Outcomes;
pub(crate) use names::{Names, SilentPort};
pub(crate) use redis::{Redis, RedisConnection, Wire, numbers};
pub(crate) use redis_groups::{Cluster, Sentinels};
pub(crate) use sandbox::Simulator;
pub(crate) use stub::{ClosedPort, GOOD, Received, Stub, Talk, json_answer};
pub(crate) use tls::{
    Authority, Identity, Tls, Wallet, h2_get, tls_connect, tls_over, tls_vendor, tls_vendor_on,
};

/// Path of the program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_jpush-gateway");

/// Time limit of any wait. It only catches hangs; no test asserts a speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A push that breaks no rule.
pub(crate) const PUSH: &str =
    r#"{"platform":"all","audience":{"alias":["anna"]},"notification":{"alert":"Hello"}}"#;

/// Waits for an event on another thread or in another process.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program starts")
}

/// The program's standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The program's standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}
