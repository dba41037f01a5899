//! Reports the state of the process to a service manager by `sd_notify(3)`. Does nothing without one.

use std::time::Duration;

use sd_notify::NotifyState;

/// A state of the process that the service manager should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState<'n> {
    /// The process runs and cannot send calls yet, for this reason.
    Waiting(&'n str),
    /// Calls can be sent to the vendor.
    Ready,
    /// The configuration is being reloaded. [`ServiceState::Ready`] follows.
    Reloading,
    /// The process has been asked to stop and drains.
    Stopping,
    /// The process's threads make progress: resets the watchdog.
    Alive,
}

/// Sends the state to the service manager. A failure is logged as a warning.
pub fn notify(state: ServiceState<'_>) {
    let sent = match state {
        ServiceState::Waiting(why) => sd_notify::notify(&[NotifyState::Status(why)]),
        ServiceState::Ready => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving")]),
        // The timestamp tells the service manager which of its reload requests this belongs to.
        ServiceState::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        ServiceState::Stopping => {
            sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("draining")])
        }
        ServiceState::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
    };
    if let Err(error) = sent {
        tracing::warn!(%error, ?state, "the service manager could not be notified");
    }
}

/// Interval of the service manager's watchdog, which expects [`ServiceState::Alive`] that often; `None` if it has none.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|longest| !longest.is_zero())
}
