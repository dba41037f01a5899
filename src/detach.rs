//! A future that is finished in a task of its own if whoever awaits it goes away.

use std::pin::Pin;
use std::task::{Context, Poll};

/// What takes an outcome that nobody waits for any more.
pub type Heir<T> = Box<dyn FnOnce(T) + Send>;

/// Runs like the future inside; dropped before that is done, it moves what is left to a new task.
///
/// A request's future is dropped when its caller hangs up. What was dispatched must run on, and spawning every call
/// up front would cost a task each. The second part is called at that moment, to say who takes the outcome.
pub struct FinishAnyway<F, L>
where
    F: Future<Output: Send> + Send + 'static,
    L: FnOnce() -> Option<Heir<F::Output>> + Unpin,
{
    future: Option<Pin<Box<F>>>,
    left: Option<L>,
}

impl<F, L> FinishAnyway<F, L>
where
    F: Future<Output: Send> + Send + 'static,
    L: FnOnce() -> Option<Heir<F::Output>> + Unpin,
{
    /// Wraps a future. It must be awaited on a tokio runtime.
    pub fn new(future: F, left: L) -> Self {
        Self { future: Some(Box::pin(future)), left: Some(left) }
    }
}

impl<F, L> Future for FinishAnyway<F, L>
where
    F: Future<Output: Send> + Send + 'static,
    L: FnOnce() -> Option<Heir<F::Output>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it is polled: a future that panicked must not be polled again by the drop.
        let mut future = self.future.take().expect("not polled after it was done");
        let outcome = future.as_mut().poll(cx);
        if outcome.is_pending() {
            self.future = Some(future);
        }
        outcome
    }
}

impl<F, L> Drop for FinishAnyway<F, L>
where
    F: Future<Output: Send> + Send + 'static,
    L: FnOnce() -> Option<Heir<F::Output>> + Unpin,
{
    fn drop(&mut self) {
        let (Some(rest), Ok(runtime)) = (self.future.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let heir = self.left.take().and_then(|left| left());
        runtime.spawn(async move {
            let outcome = rest.await;
            if let Some(heir) = heir {
                heir(outcome);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn nobody<T>() -> Option<Heir<T>> {
        None
    }

    #[tokio::test]
    async fn what_is_left_is_finished_and_inherited_when_nobody_waits() {
        let (go, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let heir = |outcome: u8| tell.send(outcome).expect("the test waits");
        let work = FinishAnyway::new(
            async move {
                gate.await.expect("the test opens the gate");
                done.send(7).expect("the test waits");
                9
            },
            || Some(Box::new(heir) as Heir<u8>),
        );
        assert!(
            tokio::time::timeout(Duration::from_millis(1), work).await.is_err(),
            "given up by its caller"
        );
        go.send(()).expect("the rest runs on");
        assert_eq!((finished.await, told.await), (Ok(7), Ok(9)));
    }

    #[tokio::test]
    async fn an_outcome_that_somebody_waited_for_is_not_inherited() {
        let work = FinishAnyway::new(async { 7 }, || panic!("nobody left"));
        assert_eq!(work.await, 7);
    }

    #[tokio::test]
    async fn a_panic_is_not_polled_again() {
        use futures_util::FutureExt;
        let work = FinishAnyway::new(async { panic!("once") }, nobody::<()>);
        assert!(std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err());
    }
}
