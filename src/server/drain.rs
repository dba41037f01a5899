//! Closes a listener without resetting connections still in their handshake.

use std::io;

use tokio::net::TcpListener;

/// Drops the SYN of every new connection and lets handshakes under way complete. The client gets no answer, repeats its
/// SYN after a second, and reaches another process's listener on the port, or none.
///
/// Without this, the close resets every connection whose handshake completes between the last `accept` and the close;
/// only some kernels can hand it to another listener (`net.ipv4.tcp_migrate_req`).
#[cfg(target_os = "linux")]
pub(super) fn take_no_more(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    /// BPF instruction: loads one byte of the segment, counted from its TCP header.
    const LOAD_BYTE: u16 = 0x30;
    /// BPF instruction: jumps if any of these bits is set.
    const JUMP_IF_SET: u16 = 0x45;
    /// BPF instruction: ends, and keeps the given number of bytes; 0 drops the segment.
    const RETURN: u16 = 0x06;
    /// Offset of the flags in a TCP header.
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
