//! What a service manager is told, by `sd_notify(3)`. Where there is none, nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

/// What became of the process, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News<'n> {
    /// It is up, for the reason that it gives; not ready yet.
    Waiting(&'n str),
    /// Calls can be sent.
    Ready,
    /// The configuration is being loaded again. [`News::Ready`] follows.
    Reloading,
    /// It was told to stop.
    Stopping,
    /// Its threads run.
    Alive,
}

/// Tells it.
pub fn tell(news: News<'_>) {
    let told = match news {
        News::Waiting(why) => sd_notify::notify(&[NotifyState::Status(why)]),
        News::Ready => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving")]),
        // The manager tells by the time to which of its orders this belongs.
        News::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        News::Stopping => sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("draining")]),
        News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = told {
        tracing::warn!(%error, ?news, "the service manager could not be told");
    }
}

/// How long the manager waits for [`News::Alive`] before it takes the process for stuck, if it watches at all.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|longest| !longest.is_zero())
}
