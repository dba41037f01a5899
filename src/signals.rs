//! The signals of service managers and terminals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are ours from the start on. What is not caught would end the process at once.
pub struct Signals {
    /// To stop.
    pub stop: StopSignals,
    /// To reload.
    pub hangup: Signal,
    /// Sent by tools that take us for another program; nothing follows from them.
    _ignored: [Signal; 2],
}

/// SIGTERM, SIGINT and SIGQUIT.
pub struct StopSignals([Signal; 3]);

impl Signals {
    /// Catches them from here on.
    pub fn new() -> io::Result<Self> {
        let stop =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
        let ignored = [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?];
        Ok(Self { stop: StopSignals(stop), hangup: signal(SignalKind::hangup())?, _ignored: ignored })
    }
}

impl StopSignals {
    /// Waits for a signal to stop.
    pub async fn signal(&mut self) {
        let [terminate, interrupt, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
