//! Accepting connections of one listener: each is served, or turned away over the limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout_at};

use super::bind::SocketOrigin;
use super::listeners::{ConnectionSetup, Port};
use super::tls::CallerTls;
use super::{Core, IN_TRANSIT, ShutdownStage, drain};

use crate::http1::server::FULL;

impl Core {
    /// Serves the connections of one socket until the process ends.
    pub(super) async fn serve_port(self: Arc<Self>, port: Port) {
        if port.origin == SocketOrigin::Reserved {
            let _ = self.stages.clone().wait_for(|stage| *stage != ShutdownStage::ServeUnreserved).await;
            if *self.stages.borrow() != ShutdownStage::Serve {
                return;
            }
        }
        let listener = match TcpListener::from_std(port.socket) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener cannot be served"),
        };
        self.accept(&listener, &port.setup).await;
        // The queue of an inherited socket belongs to the next process.
        if port.origin != SocketOrigin::Inherited {
            self.accept_last(&listener, &port.setup).await;
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, setup: &ConnectionSetup) {
        let mut stages = self.stages.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stages.wait_for(|stage| matches!(stage, ShutdownStage::Finish(_))) => return,
            };
            self.admit(accepted, setup).await;
        }
    }

    /// Accepts the last connections before the listener closes. The close resets connections in the kernel's queue, and
    /// those still in their TCP handshake.
    async fn accept_last(self: &Arc<Self>, listener: &TcpListener, setup: &ConnectionSetup) {
        if let Err(error) = drain::take_no_more(listener) {
            tracing::debug!(%error, "a listener closes without waiting for handshakes");
        }
        let closes = tokio::time::Instant::now() + IN_TRANSIT;
        while let Ok(accepted) = timeout_at(closes, listener.accept()).await {
            self.admit(accepted, setup).await;
        }
        while let Some(accepted) = futures_util::FutureExt::now_or_never(listener.accept()) {
            self.admit(accepted, setup).await;
        }
    }

    async fn admit(self: &Arc<Self>, accepted: io::Result<(TcpStream, SocketAddr)>, setup: &ConnectionSetup) {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most often the process is out of file descriptors: without a pause this would spin.
                let failures = Arc::clone(&self.worker.load().telemetry().failures);
                if let Some(suppressed) = failures.admit("accept", error.kind().to_string()) {
                    tracing::warn!(%error, suppressed, "a connection could not be accepted");
                }
                return sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = stream.set_nodelay(true);
        let Some(place) = self.worker.load().admission().connections.enter() else {
            return turn_away(stream, setup.tls.as_deref());
        };
        match &setup.tls {
            _ if setup.proxy_protocol => {
                drop(tokio::spawn(Arc::clone(self).serve_behind_proxy(
                    stream,
                    address,
                    setup.clone(),
                    place,
                )));
            }
            None => drop(tokio::spawn(self.serve(stream, address, place))),
            Some(tls) => drop(tokio::spawn(self.handshake((stream, address), Arc::clone(tls), place))),
        }
    }
}

/// Rejects a connection over the limit: a plain one gets [`FULL`] without delaying other connections, one with TLS is
/// closed.
fn turn_away(mut stream: TcpStream, tls: Option<&CallerTls>) {
    if tls.is_none() {
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(FULL)).await;
        });
    }
}
