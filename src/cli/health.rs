//! The command `health`: asks a running gateway whether it is ready.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{BAD, GOOD, complain};

const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn run(admin: SocketAddr) -> ExitCode {
    match ready(admin) {
        Ok(true) => GOOD,
        Ok(false) => ExitCode::from(BAD),
        Err(error) => complain(&error),
    }
}

/// Sends one request over a plain socket: a health check needs no HTTP client.
fn ready(admin: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
