//! A future that is finished in a task of its own if whoever awaits it goes away.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs like the future inside; dropped before that is done, it moves what is left to a new task.
///
/// A request's future is dropped when its caller hangs up. What was dispatched must run on, and spawning every call
/// up front would cost a task each.
pub struct FinishAnyway<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> FinishAnyway<F> {
    /// Wraps a future. It must be awaited on a tokio runtime.
    pub fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for FinishAnyway<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it is polled: a future that panicked must not be polled again by the drop.
        let mut future = self.0.take().expect("not polled after it was done");
        let outcome = future.as_mut().poll(cx);
        if outcome.is_pending() {
            self.0 = Some(future);
        }
        outcome
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for FinishAnyway<F> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_left_is_finished_when_nobody_waits() {
        let (go, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let work = FinishAnyway::new(async move {
            gate.await.expect("the test opens the gate");
            done.send(7).expect("the test waits");
        });
        assert!(
            tokio::time::timeout(Duration::from_millis(1), work).await.is_err(),
            "given up by its caller"
        );
        go.send(()).expect("the rest runs on");
        assert_eq!(finished.await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_not_polled_again() {
        use futures_util::FutureExt;
        let work = FinishAnyway::new(async { panic!("once") });
        assert!(std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err());
    }
}
