//! How many files the process may have open: every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Besides connections of callers and to the vendor: the admin's connections, logs, the state file, timers.
const OTHERS: usize = 128;

/// Allows as many open files as the system lets us, and warns if a full house would need more.
///
/// The soft limit is 1,024 in most places, for the sake of programs that use `select`; who does not raises it.
pub fn allow_open_files(config: &Config, workers: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = current == maximum
        || match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the limit of open files could not be raised");
                false
            }
        };
    let Some(limit) = (if raised { maximum } else { current }) else { return };
    let needed = needed(config, workers);
    if u64::try_from(needed).is_ok_and(|needed| needed > limit) {
        tracing::warn!(
            limit,
            needed,
            "fewer files may be open than limits.connections and limits.in_flight ask for; raise the hard limit, for \
             instance by LimitNOFILE of systemd or --ulimit nofile of a container"
        );
    }
}

/// A call has one connection to the vendor; every worker has a socket for each listener.
fn needed(config: &Config, workers: usize) -> usize {
    let limits = &config.limits;
    limits.connections + limits.in_flight + workers * config.listeners.len() + OTHERS
}
