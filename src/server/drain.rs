//! A listener that is about to close: how to let nobody down who is on the way to it.

use std::io;

use tokio::net::TcpListener;

/// Lets no new handshake begin, and those under way end. Who is turned away hears nothing, knocks again after a second,
/// and finds another process's listener on the port, or none.
///
/// Closing at once resets every connection whose handshake ends between the last look into the queue and the close;
/// only some kernels can hand it to another listener (`net.ipv4.tcp_migrate_req`).
#[cfg(target_os = "linux")]
pub(super) fn take_no_more(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    /// Loads one byte of the segment, from its header on.
    const LOAD_BYTE: u16 = 0x30;
    /// Jumps if any of these bits is set.
    const JUMP_IF_SET: u16 = 0x45;
    /// Ends with the number of bytes that are let through.
    const RETURN: u16 = 0x06;
    /// Where the flags of a TCP header stand.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
pub(super) fn take_no_more(_: &TcpListener) -> io::Result<()> {
    Ok(())
}
