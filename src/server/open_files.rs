//! The limit of open files, of which every connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files besides the connections of callers and to the vendor: the admin's connections, logs, the state file, timers.
const OTHERS: usize = 128;

/// Raises the soft limit of open files to the hard limit, and warns if the configured limits could need more.
///
/// The soft limit is usually 1,024 for the sake of programs that use `select`; other programs are expected to raise it.
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

/// Files that the limits allow to be open: a connection for each caller's connection and each call, and a socket for
/// each worker and listener.
fn needed(config: &Config, workers: usize) -> usize {
    let limits = &config.limits;
    limits.connections + limits.in_flight + workers * config.listeners.len() + OTHERS
}
