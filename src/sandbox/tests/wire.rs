//! Tests of the simulator on real sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Sends bytes to a new simulator after ordering a fault. Returns the bytes received until the end of the connection,
/// and how it ended.
fn exchange(fault: Option<&Value>, request: &[u8]) -> (String, std::io::Result<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let bench = Bench::new();
        if let Some(fault) = fault {
            bench.fault(fault);
        }
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(Arc::clone(&bench.sandbox).serve(listener, async {
            let _ = stopped.await;
        }));
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request).await.expect("written");
        let mut answer = Vec::new();
        let result = stream.read_to_end(&mut answer).await.map(|_| ());
        drop(stop);
        server.await.expect("no panic");
        (String::from_utf8_lossy(&answer).into_owned(), result)
    })
}

fn quota() -> Vec<u8> {
    let authorization = basic(APP, SECRET);
    format!("GET /v3/push/quota HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {authorization}\r\n\r\n").into()
}

#[test]
fn answers_arrive() {
    let (answer, result) = exchange(None, &quota());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("vivo_quota"), "{answer}");
    assert!(answer.contains("X-Rate-Limit-Remaining: 599\r\n") && result.is_ok(), "{answer}");
    let (answer, _) = exchange(Some(&json!({ "kind": "delay", "delay": "20ms" })), &quota());
    assert!(answer.contains("vivo_quota"), "{answer}");
    let (answer, _) = exchange(None, b"nonsense\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn a_cut_answer_is_promised_whole() {
    let (answer, _) = exchange(Some(&json!({ "kind": "cut" })), &quota());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let promised = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let promised: usize = promised.and_then(|text| text.parse().ok()).expect("a length");
    assert!(head.starts_with("HTTP/1.1 200") && body.len() == promised / 2 && promised > 1, "{answer}");
}

#[test]
fn a_reset_connection_has_no_answer() {
    let (answer, result) = exchange(Some(&json!({ "kind": "reset" })), &quota());
    assert_eq!(answer, "");
    assert_eq!(result.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_body_beyond_twelve_mebibytes_is_refused() {
    let length = 12 * 1024 * 1024 + 1;
    let mut request =
        format!("POST /v3/push HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    request.resize(request.len() + length, b'x');
    let (answer, _) = exchange(None, &request);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("1005"), "{answer}");
}
