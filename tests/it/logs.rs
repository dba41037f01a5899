//! Logs are never on a request's way: whoever reads them can be slow, stuck or gone.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::support::{Config, Gateway, PUSH, Request, Stub, Tokens, wait_until};

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// What becomes of the lines of a log.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reader {
    /// A device without room.
    Full,
    /// A pipe whose other end is closed.
    Gone,
    /// A pipe that nobody reads, full from the start.
    Stuck,
    /// The same, whose writes fail in place of waiting.
    StuckWithoutBlocking,
}

impl Reader {
    /// What the program writes to, and what must stay until its end.
    fn open(self) -> (Stdio, Option<UnixStream>) {
        if self == Self::Full {
            let full = OpenOptions::new().write(true).open("/dev/full").expect("the device");
            return (full.into(), None);
        }
        let (mut write, read) = UnixStream::pair().expect("a pair of sockets");
        if self == Self::Gone {
            return (OwnedFd::from(write).into(), None);
        }
        write.set_nonblocking(true).expect("a socket takes that");
        let full = loop {
            if let Err(error) = write.write(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        write.set_nonblocking(self == Self::StuckWithoutBlocking).expect("a socket takes that");
        (OwnedFd::from(write).into(), Some(read))
    }
}

#[test]
fn whoever_reads_the_logs_keeps_no_push_from_its_answer_and_no_signal_from_its_effect() {
    let vendor = Stub::good();
    for reader in [Reader::Full, Reader::Gone, Reader::Stuck, Reader::StuckWithoutBlocking] {
        let before = vendor.requests().len();
        let mut config = Config::new(&vendor.url());
        config.budgets = "push: { limit: 100000, window: 60s }".into();
        config.drain = "{ deadline: 1s }";
        // Every call leaves lines in both logs.
        config.log = "debug";
        let ((out, _read_out), (err, _read_err)) = (reader.open(), reader.open());
        let mut gateway = Gateway::start_into(config, out, err);
        let mut connection = gateway.connect();
        for number in 0..300 {
            let answer = connection.call(&push());
            assert_eq!(answer.status, 200, "{reader:?}: push {number}");
        }
        assert_eq!(vendor.requests().len(), before + 300, "{reader:?}");
        gateway.program.signal("HUP");
        wait_until("the reload", || {
            gateway.metric(r#"jpush_gateway_config_reloads_total{result="success"}"#) >= 2.0
        });
        if matches!(reader, Reader::Full | Reader::Gone) {
            wait_until("the count of lost lines", || gateway.metric("jpush_gateway_log_lost_total") >= 300.0);
        }
        assert_eq!(connection.call(&push()).status, 200, "{reader:?}");
        gateway.program.signal("TERM");
        assert_eq!(gateway.program.wait().code(), Some(0), "{reader:?}");
    }
}
