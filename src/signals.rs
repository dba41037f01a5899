//! Catches the signals of service managers and terminals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process catches. An uncaught one would end the process at once.
pub struct Signals {
    /// Signals that ask the process to stop.
    pub stop: StopSignals,
    /// SIGHUP, which asks for a reload.
    pub hangup: Signal,
    /// SIGUSR1 and SIGUSR2, which some tools send to other programs for log rotation. They are caught so that they have
    /// no effect.
    _ignored: [Signal; 2],
}

/// The signals that stop the process: SIGTERM, SIGINT and SIGQUIT.
pub struct StopSignals([Signal; 3]);

impl Signals {
    /// Starts to catch the signals. The error is that of the operating system.
    pub fn new() -> io::Result<Self> {
        let stop =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        let ignored = [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?];
        Ok(Self { stop: StopSignals(stop), hangup: signal(SignalKind::hangup())?, _ignored: ignored })
    }
}

impl StopSignals {
    /// Waits for the next of these signals. Cancel safe.
    pub async fn signal(&mut self) {
        let [terminate, interrupt, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
