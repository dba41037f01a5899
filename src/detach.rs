//! A future that continues in a task of its own when the task that awaits it is dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Receives the result when nobody awaits it any more.
pub type ResultHandler<T> = Box<dyn FnOnce(T) + Send>;

/// Chooses who receives the result if the awaiting task is dropped.
pub trait OnDetach<T>: Send + Unpin {
    /// Called when the awaiting task is dropped; returns the handler of the result, if there is one.
    fn result_handler(self) -> Option<ResultHandler<T>>;
}

/// Runs like the future inside. If it is dropped before that is done, the rest runs in a new task.
///
/// A request's future is dropped when its caller hangs up, but a dispatched call must run on. Spawning every call from
/// the start would cost a task each. The output contains the [`OnDetach`] value as well, for the caller that waited to
/// the end.
pub struct DetachOnDrop<F, T>
where
    F: Future<Output: Send> + Send + 'static,
    T: OnDetach<F::Output>,
{
    future: Option<Pin<Box<F>>>,
    on_detach: Option<T>,
}

impl<F, T> DetachOnDrop<F, T>
where
    F: Future<Output: Send> + Send + 'static,
    T: OnDetach<F::Output>,
{
    /// Wraps a future. It must be awaited on a tokio runtime.
    pub fn new(future: F, on_detach: T) -> Self {
        Self { future: Some(Box::pin(future)), on_detach: Some(on_detach) }
    }

    /// The [`OnDetach`] value, until the future is done.
    pub fn on_detach(&mut self) -> Option<&mut T> {
        self.on_detach.as_mut()
    }
}

impl<F, T> Future for DetachOnDrop<F, T>
where
    F: Future<Output: Send> + Send + 'static,
    T: OnDetach<F::Output>,
{
    type Output = (F::Output, T);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken out while it is polled, so that dropping `self` after a panic does not poll it again.
        let mut future = self.future.take().expect("not polled after it was done");
        match future.as_mut().poll(cx) {
            Poll::Pending => {
                self.future = Some(future);
                Poll::Pending
            }
            Poll::Ready(outcome) => {
                Poll::Ready((outcome, self.on_detach.take().expect("it is taken with the future")))
            }
        }
    }
}

impl<F, T> Drop for DetachOnDrop<F, T>
where
    F: Future<Output: Send> + Send + 'static,
    T: OnDetach<F::Output>,
{
    fn drop(&mut self) {
        let (Some(rest), Ok(runtime)) = (self.future.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let result_handler = self.on_detach.take().and_then(T::result_handler);
        runtime.spawn(async move {
            let outcome = rest.await;
            if let Some(result_handler) = result_handler {
                result_handler(outcome);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    struct Left(Option<ResultHandler<u8>>);

    impl OnDetach<u8> for Left {
        fn result_handler(self) -> Option<ResultHandler<u8>> {
            self.0
        }
    }

    #[tokio::test]
    async fn what_is_left_is_finished_and_inherited_when_nobody_waits() {
        let (go, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let result_handler = |outcome: u8| tell.send(outcome).expect("the test waits");
        let work = DetachOnDrop::new(
            async move {
                gate.await.expect("the test opens the gate");
                done.send(7).expect("the test waits");
                9
            },
            Left(Some(Box::new(result_handler))),
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
        let work = DetachOnDrop::new(async { 7 }, Left(Some(Box::new(|_| panic!("nobody left")))));
        let (outcome, left) = work.await;
        assert!(outcome == 7 && left.0.is_some(), "both come back");
    }

    #[tokio::test]
    async fn a_panic_is_not_polled_again() {
        use futures_util::FutureExt;
        let work = DetachOnDrop::new(async { panic!("once") }, Left(None));
        assert!(std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err());
    }
}
