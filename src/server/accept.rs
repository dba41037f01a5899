//! From a listener's queue to a connection that is served, or turned away.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout_at};

use super::bind::SocketOrigin;
use super::listeners::{Manner, Port};
use super::tls::CallerTls;
use super::{Core, ON_THE_WAY, ShutdownStage, drain};

/// What a plain connection over the limit is told.
pub(super) const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

impl Core {
    /// Takes callers on one socket until the end.
    pub(super) async fn serve_port(self: Arc<Self>, port: Port) {
        if port.origin == SocketOrigin::Reserved {
            let _ = self.stages.clone().wait_for(|stage| *stage != ShutdownStage::Stand).await;
            if *self.stages.borrow() != ShutdownStage::Serve {
                return;
            }
        }
        let listener = match TcpListener::from_std(port.socket) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a listener cannot be served"),
        };
        self.accept(&listener, &port.manner).await;
        // Whoever is in the queue of an inherited socket is the next process's.
        if port.origin != SocketOrigin::Inherited {
            self.accept_last(&listener, &port.manner).await;
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, manner: &Manner) {
        let mut stages = self.stages.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stages.wait_for(|stage| matches!(stage, ShutdownStage::Finish(_))) => return,
            };
            self.admit(accepted, manner).await;
        }
    }

    /// Connections in the kernel's queue, and those about to get there, are reset when the listener closes.
    async fn accept_last(self: &Arc<Self>, listener: &TcpListener, manner: &Manner) {
        if let Err(error) = drain::take_no_more(listener) {
            tracing::debug!(%error, "a listener closes with connections on their way to it");
        }
        let closes = tokio::time::Instant::now() + ON_THE_WAY;
        while let Ok(accepted) = timeout_at(closes, listener.accept()).await {
            self.admit(accepted, manner).await;
        }
        while let Some(accepted) = futures_util::FutureExt::now_or_never(listener.accept()) {
            self.admit(accepted, manner).await;
        }
    }

    async fn admit(self: &Arc<Self>, accepted: io::Result<(TcpStream, SocketAddr)>, manner: &Manner) {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: another try at once would spin.
                let failures = Arc::clone(&self.worker.load().telemetry().failures);
                if let Some(suppressed) = failures.admit("accept", error.kind().to_string()) {
                    tracing::warn!(%error, suppressed, "a connection could not be accepted");
                }
                return sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = stream.set_nodelay(true);
        let Some(place) = self.worker.load().admission().connections.enter() else {
            return turn_away(stream, manner.tls.as_deref());
        };
        match &manner.tls {
            _ if manner.proxy_protocol => {
                drop(tokio::spawn(Arc::clone(self).introduced(stream, address, manner.clone(), place)));
            }
            None => drop(tokio::spawn(self.serve(stream, address, place))),
            Some(tls) => drop(tokio::spawn(self.handshake((stream, address), Arc::clone(tls), place))),
        }
    }
}

/// Over the limit: a plain connection is told so without waiting for it, one with TLS is closed.
fn turn_away(mut stream: TcpStream, tls: Option<&CallerTls>) {
    if tls.is_none() {
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(FULL)).await;
        });
    }
}
