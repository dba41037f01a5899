//! `CONNECT` (RFC 9110, 9.3.6): a tunnel to a vendor host, for networks without direct egress.
//!
//! The proxy learns the host and its port, and resolves the name. It is trusted with nothing: what it answers is
//! bounded, and TLS inside the tunnel is checked as it is without one.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest head of a proxy's answer, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Why there is no tunnel. No byte went to the vendor.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No connection to the proxy.
    #[error("the proxy cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The connection broke before the proxy's answer was whole.
    #[error("the connection to the proxy broke")]
    Broken(#[source] io::Error),
    /// It answered that there is no tunnel.
    #[error("the proxy refused the tunnel with status {0}")]
    Refused(u16),
    /// Its answer is no HTTP, is longer than 8 KiB, or goes on after its head, where only the vendor may speak.
    #[error("the proxy's answer cannot be understood")]
    Unclear,
}

/// Makes a fresh connection to a proxy one to `target`, a host and a port.
pub(super) async fn open_tunnel<S>(stream: &mut S, target: &str) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: jpush-gateway/{}\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).await.map_err(ProxyError::Broken)?;
    let mut head = [0; HEAD_BYTES_MAX];
    let mut length = 0;
    loop {
        let read = stream.read(&mut head[length..]).await.map_err(ProxyError::Broken)?;
        if read == 0 {
            return Err(ProxyError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        // The end may have begun in what was read before.
        let from = length.saturating_sub(3);
        length += read;
        if let Some(at) = memchr::memmem::find(&head[from..length], b"\r\n\r\n") {
            return judge(&head[..length], from + at + 4);
        }
        if length == HEAD_BYTES_MAX {
            return Err(ProxyError::Unclear);
        }
    }
}

/// What came, with a head that ends at `end`. A tunnel's first bytes are ours to send: more than a head is a fault.
fn judge(received: &[u8], end: usize) -> Result<(), ProxyError> {
    match status(received).ok_or(ProxyError::Unclear)? {
        200 if received.len() == end => Ok(()),
        200 => Err(ProxyError::Unclear),
        status => Err(ProxyError::Refused(status)),
    }
}

/// The status of `HTTP/1.x NNN`, followed by a blank or the end of the line.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, rest) = rest.split_at_checked(3)?;
    let number = || digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let whole = digits.iter().all(u8::is_ascii_digit) && matches!(rest.first(), Some(b' ' | b'\r'));
    whole.then(number).filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_200_is_a_tunnel() {
        let rows: [(&[u8], Result<(), &str>); 14] = [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            (b"HTTP/1.0 200\r\nVia: proxy\r\nContent-Length: 5\r\n\r\n", Ok(())),
            (b"HTTP/1.1 200 OK\r\n\r\nmore", Err("Unclear")),
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Err("Refused(407)")),
            (b"HTTP/1.1 503 \r\n\r\n<html>", Err("Refused(503)")),
            (b"HTTP/1.1 204 No Content\r\n\r\n", Err("Refused(204)")),
            (b"HTTP/1.1 2000 OK\r\n\r\n", Err("Unclear")),
            (b"HTTP/1.1 20\r\n\r\n", Err("Unclear")),
            (b"HTTP/1.1 2 00\r\n\r\n", Err("Unclear")),
            (b"HTTP/1.1 999 \r\n\r\n", Err("Unclear")),
            (b"HTTP/2 200 OK\r\n\r\n", Err("Unclear")),
            (b"http/1.1 200 OK\r\n\r\n", Err("Unclear")),
            (b" HTTP/1.1 200 OK\r\n\r\n", Err("Unclear")),
            (b"\r\n\r\n", Err("Unclear")),
        ];
        for (received, expected) in rows {
            let end = memchr::memmem::find(received, b"\r\n\r\n").expect("an end") + 4;
            let judged = judge(received, end).map_err(|error| format!("{error:?}"));
            assert_eq!(judged, expected.map_err(str::to_owned), "{}", String::from_utf8_lossy(received));
        }
    }

    #[tokio::test]
    async fn an_answer_in_any_pieces_is_read_to_its_end_and_no_further() {
        let answer = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for cut in 1..answer.len() {
            let (mut ours, mut theirs) = tokio::io::duplex(1024);
            let proxy = async {
                for piece in [&answer[..cut], &answer[cut..]] {
                    theirs.write_all(piece).await.expect("the tunnel reads");
                    tokio::task::yield_now().await;
                }
                let mut request = [0; 1024];
                let length = theirs.read(&mut request).await.expect("a request");
                String::from_utf8_lossy(&request[..length]).into_owned()
            };
            let (tunnel, request) = tokio::join!(open_tunnel(&mut ours, "[::1]:443"), proxy);
            assert!(tunnel.is_ok(), "cut at {cut}");
            assert!(request.starts_with("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\n"));
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up() {
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        let endless = async move { while theirs.write_all(b"HTTP/1.1 200 OK and so on ").await.is_ok() {} };
        let tunnel = async move { open_tunnel(&mut ours, "vendor.example:443").await };
        let (tunnel, ()) = tokio::join!(tunnel, endless);
        assert!(matches!(tunnel, Err(ProxyError::Unclear)));
    }
}
