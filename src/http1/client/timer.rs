//! The time limit of a call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// A timer that is moved only when it goes off: calls end long before they are due, and starting a timer for each
/// of them was measured at two percent of a push.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(super) fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if sleep.deadline() > due.into() {
            sleep.as_mut().reset(due.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due.into());
        }
        Poll::Pending
    }
}
