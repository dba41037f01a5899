//! Sends pushes without a pause, and counts their outcomes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Connection, PATIENCE, PUSH, Request, Stub, Tokens, wait_until};

/// The outcomes of clients' pushes, by their ids.
#[derive(Default)]
pub(crate) struct Outcomes {
    answered: AtomicUsize,
    statuses: Mutex<BTreeMap<String, Option<u16>>>,
    refused: AtomicUsize,
}

impl Outcomes {
    /// Runs clients that push without a pause while `happens` runs.
    pub(crate) fn during(&self, address: SocketAddr, happens: impl FnOnce()) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (name, keeps) = if number % 2 == 0 { ("keeps", true) } else { ("fresh", false) };
                let over = &over;
                scope.spawn(move || self.push(&format!("{name}-{number}"), address, keeps, over));
            }
            let _end = SetAtEnd(&over);
            happens();
        });
    }

    /// Waits for a hundred more answers.
    pub(crate) fn wait_for_more(&self) {
        let enough = self.answered.load(Ordering::Relaxed) + 100;
        wait_until("pushes are answered", || self.answered.load(Ordering::Relaxed) >= enough);
    }

    /// Checks that no connection was refused, no client was told to come again, and no push was lost or sent twice.
    pub(crate) fn judge(self, vendor: &Stub, restarts: usize) {
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for received in vendor.requests() {
            *sent.entry(received.header("X-Request-Id").expect("an id").to_owned()).or_default() += 1;
        }
        let statuses = self.statuses.into_inner().expect("no client panicked");
        let with = |status: Option<u16>| statuses.values().filter(|found| **found == status).count();
        eprintln!(
            "{restarts} restarts, {} pushes: {} answered, {} unread",
            statuses.len(),
            with(Some(200)),
            with(None)
        );
        assert_eq!(self.refused.into_inner(), 0, "no connection is refused");
        let others: Vec<_> =
            statuses.iter().filter(|(_, status)| !matches!(status, Some(200) | None)).collect();
        assert!(others.is_empty(), "nobody is told to come again: {others:?}");
        assert!(sent.values().all(|times| *times == 1), "no push goes out twice");
        for (id, status) in &statuses {
            // A kept connection may be closed while a request is on its way; no process has read such a request.
            let is_unread = status.is_none() && id.starts_with("keeps");
            assert_eq!(sent.contains_key(id), !is_unread, "{id}: {status:?}");
        }
    }

    /// Pushes until it is over, on one connection as long as it is kept, or on a new one each time.
    fn push(&self, name: &str, address: SocketAddr, keeps: bool, over: &AtomicBool) {
        let mut kept = None;
        for number in 0.. {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let id = format!("{name}-{number}");
            let mut request =
                Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS).header("X-Request-Id", &id);
            if !keeps {
                request = request.header("Connection", "close");
            }
            let connection = kept.take().or_else(|| self.connect(address));
            let status = connection.and_then(|connection| exchange(connection, &request, &mut kept));
            self.answered.fetch_add(usize::from(status.is_some()), Ordering::Relaxed);
            self.statuses.lock().expect("no client panics").insert(id, status);
        }
    }

    fn connect(&self, address: SocketAddr) -> Option<Connection> {
        let Ok(stream) = TcpStream::connect(address) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Some(Connection::over(stream))
    }
}

/// One exchange on a connection that may end at any time.
fn exchange(mut used: Connection, request: &Request, kept: &mut Option<Connection>) -> Option<u16> {
    used.try_send(request.bytes()).ok()?;
    let head = used.try_read_head().ok()?;
    let length = head.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
    used.read_exactly(length);
    if head.header("Connection") != Some("close") {
        *kept = Some(used);
    }
    Some(head.status)
}

/// Stops the clients on drop, also when the test fails.
struct SetAtEnd<'f>(&'f AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
