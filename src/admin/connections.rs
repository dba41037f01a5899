//! Limits connections to the admin listener: when all places are taken, the one that has been idle longest is closed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

/// Upper bound of open connections; operators and a metrics scraper need a few.
const CONNECTIONS_MAX: usize = 64;

/// All connections that are open.
#[derive(Default)]
pub(super) struct AdminConnections {
    connections: Vec<Weak<AdminConnection>>,
    counter: Arc<AtomicU64>,
}

/// An open connection to the admin listener.
pub(super) struct AdminConnection {
    /// Requests on this connection that are being answered.
    busy: AtomicUsize,
    /// The counter's value when the connection was accepted or its last answer was finished. The smallest value is the
    /// longest idle.
    since: AtomicU64,
    counter: Arc<AtomicU64>,
    close: Notify,
}

impl AdminConnections {
    /// Adds a connection. If all places are taken, the one that has been idle longest is told to close; `None` if all
    /// of them are being answered.
    pub(super) fn admit(&mut self) -> Option<Arc<AdminConnection>> {
        // A connection that has ended has dropped its `Arc`.
        self.connections.retain(|connection| connection.strong_count() > 0);
        if self.connections.len() >= CONNECTIONS_MAX {
            let silent = self.connections.iter().enumerate().filter_map(|(at, connection)| {
                let connection =
                    connection.upgrade().filter(|connection| connection.busy.load(Ordering::Relaxed) == 0)?;
                Some((connection.since.load(Ordering::Relaxed), at))
            });
            let (_, at) = silent.min()?;
            if let Some(connection) = self.connections.swap_remove(at).upgrade() {
                connection.close.notify_one();
            }
        }
        let connection = Arc::new(AdminConnection {
            busy: AtomicUsize::new(0),
            since: AtomicU64::new(self.counter.fetch_add(1, Ordering::Relaxed)),
            counter: Arc::clone(&self.counter),
            close: Notify::new(),
        });
        self.connections.push(Arc::downgrade(&connection));
        Some(connection)
    }
}

impl AdminConnection {
    /// Marks the connection as busy until the guard is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> BusyGuard {
        self.busy.fetch_add(1, Ordering::Relaxed);
        BusyGuard(Arc::clone(self))
    }

    /// Returns when this connection has to close to make room.
    pub(super) async fn closing(&self) {
        self.close.notified().await;
    }
}

/// Guard of one request on a connection.
pub(super) struct BusyGuard(Arc<AdminConnection>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let connection = &self.0;
        // The time is set before the count falls, so the connection is never seen idle with its old time.
        connection.since.store(connection.counter.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        connection.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn closing(connection: &AdminConnection) -> bool {
        connection.closing().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_was_silent_longest_makes_room() {
        let mut connections = AdminConnections::default();
        let mut inside: Vec<_> = (0..CONNECTIONS_MAX).filter_map(|_| connections.admit()).collect();
        drop(inside[0].busy());
        let busy = inside[1].busy();
        inside.extend(connections.admit());
        let left: Vec<_> = (0..inside.len()).filter(|at| closing(&inside[*at])).collect();
        assert_eq!(left, [2], "the first was answered last, the second is being answered");
        inside.remove(10);
        inside.extend(connections.admit());
        assert!(!inside.iter().any(|connection| closing(connection)), "there was room");
        drop(busy);
    }

    #[test]
    fn none_closes_while_all_are_answered() {
        let mut connections = AdminConnections::default();
        let inside: Vec<_> = (0..CONNECTIONS_MAX).filter_map(|_| connections.admit()).collect();
        let busy: Vec<_> = inside.iter().map(AdminConnection::busy).collect();
        assert!(connections.admit().is_none() && !inside.iter().any(|connection| closing(connection)));
        drop(busy);
        assert!(connections.admit().is_some());
    }
}
