//! Connections to the admin listener: a few at once, and a silent one makes room for the next.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

/// Connections at once; operators and a scraper need a few.
const CONNECTIONS_MAX: usize = 64;

/// The connections there are.
#[derive(Default)]
pub(super) struct Guests {
    guests: Vec<Weak<Guest>>,
    turn: Arc<AtomicU64>,
}

/// One connection.
pub(super) struct Guest {
    /// Requests that are being answered.
    answering: AtomicUsize,
    /// When it came, or was answered last: a number that grows.
    since: AtomicU64,
    turn: Arc<AtomicU64>,
    leave: Notify,
}

impl Guests {
    /// Takes one more in. The one that has been silent longest is told to leave if there are too many; `None` if all of
    /// them are being answered.
    pub(super) fn admit(&mut self) -> Option<Arc<Guest>> {
        self.guests.retain(|guest| guest.strong_count() > 0);
        if self.guests.len() >= CONNECTIONS_MAX {
            let silent = self.guests.iter().enumerate().filter_map(|(at, guest)| {
                let guest = guest.upgrade().filter(|guest| guest.answering.load(Ordering::Relaxed) == 0)?;
                Some((guest.since.load(Ordering::Relaxed), at))
            });
            let (_, at) = silent.min()?;
            if let Some(guest) = self.guests.swap_remove(at).upgrade() {
                guest.leave.notify_one();
            }
        }
        let guest = Arc::new(Guest {
            answering: AtomicUsize::new(0),
            since: AtomicU64::new(self.turn.fetch_add(1, Ordering::Relaxed)),
            turn: Arc::clone(&self.turn),
            leave: Notify::new(),
        });
        self.guests.push(Arc::downgrade(&guest));
        Some(guest)
    }
}

impl Guest {
    /// A request is being answered until the guard is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> GuestAnswer {
        self.answering.fetch_add(1, Ordering::Relaxed);
        GuestAnswer(Arc::clone(self))
    }

    /// Returns once it has to make room.
    pub(super) async fn leaves(&self) {
        self.leave.notified().await;
    }
}

/// A request on a connection.
pub(super) struct GuestAnswer(Arc<Guest>);

impl Drop for GuestAnswer {
    fn drop(&mut self) {
        let guest = &self.0;
        guest.since.store(guest.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        guest.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn leaves(guest: &Guest) -> bool {
        guest.leaves().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_was_silent_longest_makes_room() {
        let mut guests = Guests::default();
        let mut inside: Vec<_> = (0..CONNECTIONS_MAX).filter_map(|_| guests.admit()).collect();
        drop(inside[0].answering());
        let answering = inside[1].answering();
        inside.extend(guests.admit());
        let left: Vec<_> = (0..inside.len()).filter(|at| leaves(&inside[*at])).collect();
        assert_eq!(left, [2], "the first was answered last, the second is being answered");
        inside.remove(10);
        inside.extend(guests.admit());
        assert!(!inside.iter().any(|guest| leaves(guest)), "there was room");
        drop(answering);
    }

    #[test]
    fn nobody_leaves_while_all_are_answered() {
        let mut guests = Guests::default();
        let inside: Vec<_> = (0..CONNECTIONS_MAX).filter_map(|_| guests.admit()).collect();
        let answering: Vec<_> = inside.iter().map(Guest::answering).collect();
        assert!(guests.admit().is_none() && !inside.iter().any(|guest| leaves(guest)));
        drop(answering);
        assert!(guests.admit().is_some());
    }
}
