//! `CONNECT` (RFC 9110, 9.3.6): a tunnel to a vendor host through a proxy, for networks without direct egress.
//!
//! The proxy learns the host and its port, and resolves the name. Apart from that it is not trusted: its answers are
//! limited in length, and TLS inside the tunnel is verified as without a proxy.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::config::{BaseUrl, Proxy, ProxyLogin};
use crate::secret::Secret;

/// Longest head of a proxy's answer, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The reason why there is no tunnel. No byte was sent to the vendor.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The proxy cannot be connected to.
    #[error("the proxy cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The connection broke before the proxy's answer was complete.
    #[error("the connection to the proxy broke")]
    Broken(#[source] io::Error),
    /// The proxy refused the tunnel.
    #[error("the proxy refused the tunnel with status {0}")]
    Refused(u16),
    /// The proxy asks for credentials, or does not accept the configured ones.
    #[error("the proxy refused the tunnel with status 407: it asks for a user and a password, and {0}")]
    Credentials(&'static str),
    /// The proxy's answer is not HTTP, is longer than 8 KiB, or has bytes after its head, where only the vendor may
    /// send.
    #[error("the proxy's answer cannot be understood")]
    Unclear,
}

/// A proxy and its credentials.
#[derive(PartialEq, Eq)]
pub(super) struct Tunnel {
    url: BaseUrl,
    login: Option<Login>,
}

impl Tunnel {
    pub(super) fn through(proxy: &Proxy) -> Self {
        Self { url: proxy.url.clone(), login: proxy.login.as_ref().map(Login::new) }
    }

    /// The URL of the proxy.
    pub(super) fn url(&self) -> &BaseUrl {
        &self.url
    }

    /// Opens a tunnel to `target`, a host and a port, on a fresh connection to the proxy.
    pub(super) async fn open<S>(&self, stream: &mut S, target: &str) -> Result<(), ProxyError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let request = self.request(target);
        stream.write_all(request.as_bytes()).await.map_err(ProxyError::Broken)?;
        drop(request);
        let refused_login = match &self.login {
            None => "vendor.proxy names none",
            Some(_) => "it does not take those of vendor.proxy",
        };
        match read_answer(stream).await? {
            200 => Ok(()),
            407 => Err(ProxyError::Credentials(refused_login)),
            status => Err(ProxyError::Refused(status)),
        }
    }

    /// Zeroized, because it may contain a password.
    fn request(&self, target: &str) -> Zeroizing<String> {
        let version = env!("CARGO_PKG_VERSION");
        let (name, login, end) = match &self.login {
            None => ("", "", ""),
            Some(Login(basic)) => ("Proxy-Authorization: Basic ", basic.expose(), "\r\n"),
        };
        Zeroizing::new(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{name}{login}{end}User-Agent: jpush-gateway/{version}\r\n\r\n"
        ))
    }
}

/// A user and a password, encoded for Basic (RFC 7617).
struct Login(Secret);

impl Login {
    fn new(login: &ProxyLogin) -> Self {
        let pair = Zeroizing::new([&login.user, ":", login.password.expose()].concat());
        Self(Secret::new(STANDARD.encode(pair.as_bytes())).expect("a pair with its colon is not empty"))
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_same_as(&other.0)
    }
}

impl Eq for Login {}

/// Reads the head of a proxy's answer and returns its status.
async fn read_answer<S>(stream: &mut S) -> Result<u16, ProxyError>
where
    S: AsyncRead + Unpin,
{
    let mut head = [0; HEAD_BYTES_MAX];
    let mut length = 0;
    loop {
        let read = stream.read(&mut head[length..]).await.map_err(ProxyError::Broken)?;
        if read == 0 {
            return Err(ProxyError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        // The blank line may have begun in the bytes read before.
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

/// Judges the bytes received, with a head that ends at `end`. In a tunnel the gateway sends first, so bytes after the
/// head are a fault.
fn judge(received: &[u8], end: usize) -> Result<u16, ProxyError> {
    match status(received).ok_or(ProxyError::Unclear)? {
        200 if received.len() > end => Err(ProxyError::Unclear),
        status => Ok(status),
    }
}

/// The status of `HTTP/1.x NNN`, followed by a space or the end of the line.
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

    fn tunnel(login: Option<(&str, &str)>) -> Tunnel {
        let login = login.map(|(user, password)| ProxyLogin {
            user: user.to_owned(),
            password: Secret::new(password.to_owned()).expect("not empty"),
        });
        let url = BaseUrl { tls: false, host: "proxy.example".into(), port: 3128 };
        Tunnel::through(&Proxy { url, login })
    }

    #[test]
    fn a_user_and_a_password_are_told_to_the_proxy() {
        // The credentials in the examples of RFC 7617, sections 2 and 2.1.
        let rows = [
            (("Aladdin", "open sesame"), "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            (("test", "123\u{a3}"), "dGVzdDoxMjPCow=="),
        ];
        for (login, basic) in rows {
            let request = tunnel(Some(login)).request("vendor.example:443");
            let line = format!("\r\nProxy-Authorization: Basic {basic}\r\nUser-Agent: ");
            assert!(request.contains(&line), "{}", *request);
            assert!(tunnel(Some(login)) == tunnel(Some(login)) && tunnel(Some(login)) != tunnel(None));
        }
        assert!(tunnel(Some(("a", "b"))) != tunnel(Some(("a", "c"))));
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_credentials_is_told() {
        for (login, expected) in
            [(None, "names none"), (Some(("a", "b")), "does not take those of vendor.proxy")]
        {
            let (mut ours, mut theirs) = tokio::io::duplex(1024);
            theirs.write_all(b"HTTP/1.1 407 No\r\n\r\n").await.expect("the tunnel reads");
            let error = tunnel(login).open(&mut ours, "vendor.example:443").await.expect_err("no tunnel");
            let said = error.to_string();
            assert!(said.contains("407") && said.ends_with(expected), "{said}");
        }
    }

    #[test]
    fn the_status_of_a_head_and_nothing_else_is_an_answer() {
        let rows: [(&[u8], Result<u16, &str>); 14] = [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Ok(200)),
            (b"HTTP/1.0 200\r\nVia: proxy\r\nContent-Length: 5\r\n\r\n", Ok(200)),
            (b"HTTP/1.1 200 OK\r\n\r\nmore", Err("Unclear")),
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Ok(407)),
            (b"HTTP/1.1 503 \r\n\r\n<html>", Ok(503)),
            (b"HTTP/1.1 204 No Content\r\n\r\n", Ok(204)),
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
            let way = tunnel(None);
            let (tunnel, request) = tokio::join!(way.open(&mut ours, "[::1]:443"), proxy);
            assert!(tunnel.is_ok(), "cut at {cut}");
            assert!(request.starts_with("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\n"));
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up() {
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        let endless = async move { while theirs.write_all(b"HTTP/1.1 200 OK and so on ").await.is_ok() {} };
        let tunnel = async move { tunnel(None).open(&mut ours, "vendor.example:443").await };
        let (tunnel, ()) = tokio::join!(tunnel, endless);
        assert!(matches!(tunnel, Err(ProxyError::Unclear)));
    }
}
