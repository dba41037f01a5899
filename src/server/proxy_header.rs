//! The PROXY protocol, versions 1 and 2 (`HAProxy`'s `proxy-protocol.txt`), in which a proxy in front of the gateway
//! reports its client's address.
//!
//! The header is received without a byte of what follows it, and parsed by the `ppp` crate. On a listener with this
//! protocol, every peer is trusted to be such a proxy.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The shortest header of version 1, `PROXY UNKNOWN` and a line end; headers of version 2 are longer.
const SHORTEST: usize = 15;
/// The longest header of version 1 (2.1 of the document).
const LINE_MAX: usize = 107;
/// The part of a version 2 header that contains the length of the rest.
const BINARY_START: usize = 16;
/// The longest version 2 header that is accepted. Addresses need 52 bytes of it, and the additions of proxies some
/// hundreds.
const BINARY_MAX: usize = 4096;

/// The reason why there is no valid header.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHeader {
    /// The connection ended or broke.
    #[error("the connection ended before its PROXY header did")]
    Cut(#[from] io::Error),
    /// The bytes are not a PROXY header.
    #[error("there is no PROXY header")]
    Malformed,
}

/// Reads the header; `None` if the proxy speaks for itself or does not know its client.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, NoHeader> {
    let mut header = vec![0; SHORTEST];
    stream.read_exact(&mut header).await?;
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        read_rest(stream, &mut header, BINARY_START).await?;
        let more = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if BINARY_START + more > BINARY_MAX {
            return Err(NoHeader::Malformed);
        }
        read_rest(stream, &mut header, BINARY_START + more).await?;
        return of_binary(&header);
    }
    if !header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        return Err(NoHeader::Malformed);
    }
    while !header.ends_with(b"\n") {
        // Peeked first, because the bytes after the line must not be consumed here.
        let mut next = [0; LINE_MAX];
        let seen = stream.peek(&mut next[header.len()..]).await?;
        if seen == 0 {
            return Err(NoHeader::Malformed);
        }
        let seen = &next[header.len()..header.len() + seen];
        let taken = memchr::memchr(b'\n', seen).map_or(seen.len(), |end| end + 1);
        let length = header.len() + taken;
        read_rest(stream, &mut header, length).await?;
    }
    of_line(&header)
}

async fn read_rest(stream: &mut TcpStream, header: &mut Vec<u8>, length: usize) -> Result<(), NoHeader> {
    let known = header.len();
    header.resize(length, 0);
    stream.read_exact(&mut header[known..]).await?;
    Ok(())
}

fn of_line(header: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    let header = v1::Header::try_from(header).map_err(|_| NoHeader::Malformed)?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

fn of_binary(header: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    let header = v2::Header::try_from(header).map_err(|_| NoHeader::Malformed)?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        // A health check by the proxy itself, or a client whose address it does not report.
        (v2::Command::Local, _) | (_, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// The header read from bytes that arrive in two pieces, and the bytes left after it.
    async fn read_of(bytes: &[u8], cut: usize) -> (Result<Option<String>, ()>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut proxy = TcpStream::connect(address).await.expect("somebody listens");
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let send = async {
            for piece in [&bytes[..cut], &bytes[cut..]] {
                // A reader that found a fault may have closed the connection.
                let _ = proxy.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            proxy.shutdown().await.expect("the end can be told");
        };
        let (read, ()) = tokio::join!(read(&mut stream), send);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("the rest");
        (read.map(|source| source.map(|source| source.to_string())).map_err(|_| ()), rest)
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, addresses].concat()
    }

    #[tokio::test]
    async fn both_versions_tell_the_client_and_nothing_behind_them_is_read() {
        let four = [203, 0, 113, 7, 10, 0, 0, 1, 0xdb, 0x04, 0x1f, 0x90];
        let with_more = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let mut six = [0; 36];
        for (at, byte) in [(0, 0x20), (1, 0x01), (15, 9), (33, 80)] {
            six[at] = byte;
        }
        let rows: [(Vec<u8>, Option<&str>); 8] = [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 56068 8080\r\n".to_vec(), Some("203.0.113.7:56068")),
            (b"PROXY TCP6 2001:db8::9 ::1 50 8080\r\n".to_vec(), Some("[2001:db8::9]:50")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n".to_vec(), None),
            (binary(0x21, 0x11, &four), Some("203.0.113.7:56068")),
            (binary(0x21, 0x11, &with_more), Some("203.0.113.7:56068")),
            (binary(0x21, 0x21, &six), Some("[2001::9]:80")),
            (binary(0x20, 0x00, &[]), None),
        ];
        for (header, source) in rows {
            for cut in 0..header.len() {
                let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
                let (read, rest) = read_of(&bytes, cut).await;
                assert_eq!(read.as_ref().map(Option::as_deref), Ok(source), "{header:?}");
                assert_eq!(rest, b"GET / HTTP/1.1\r\n");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
        let rows: [&[u8]; 9] = [
            b"",
            b"PROXY TCP4 203.0.",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 56068 99999\r\n",
            b"PROXY TCP5 203.0.113.7 10.0.0.1 56068 8080\r\n",
            &long,
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 5]),
            &binary(0x21, 0x11, &[0; BINARY_MAX]),
        ];
        for bytes in rows {
            assert_eq!(read_of(bytes, 0).await.0, Err(()), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
