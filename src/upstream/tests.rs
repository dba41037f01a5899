//! Idle connections and the time for which they are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::BaseUrl;
use crate::http1::message::Message;

/// A vendor that answers every request on each connection. The number of connections so far is available as well.
async fn vendor() -> (BaseUrl, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let accepted = Arc::new(Mutex::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *lock(&count) += 1;
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                    stream.write_all(answer).await.expect("the gateway reads");
                }
            });
        }
    });
    (BaseUrl { tls: false, host: "127.0.0.1".into(), port }, accepted)
}

async fn send(pool: &Arc<Pool>, late_at: Option<BootTime>) -> Result<UpstreamAnswer, Failed> {
    let host = http::HeaderValue::from_static("vendor");
    let message = Message::to("GET", "/v3/tags", 0).field("Host", &host).body(Bytes::new());
    let (start, whole) = (Instant::now(), Duration::from_secs(20));
    let deadlines = Deadlines { call: start + whole, whole, response: whole, late_at };
    pool.send(OriginId(0), &message, Choice::Any, deadlines).await
}

async fn call(pool: &Arc<Pool>) {
    let answer = send(pool, None).await.expect("an answer");
    let mut body = answer.response.body;
    while std::future::poll_fn(|cx| body.poll_next(cx)).await.expect("whole").is_some() {}
}

#[tokio::test]
async fn nothing_is_written_for_a_call_that_is_no_longer_paid_for() {
    let (url, accepted) = vendor().await;
    let connector =
        Connector::new(&[url], None, None, Duration::from_secs(3)).expect("no TLS, no trust roots");
    let pool = Pool::new(Arc::new(connector));
    for late_at in [BootTime::now(), BootTime::now() + Duration::from_mins(1)] {
        match send(&pool, Some(late_at)).await {
            Ok(_) => assert!(!late_at.has_come()),
            Err((failure, _)) => {
                assert!(
                    late_at.has_come() && matches!(failure, Failure::NotSent(NotSent::Late)),
                    "{failure}"
                );
            }
        }
    }
    assert_eq!(*lock(&accepted), 2, "the time is looked at after the connection was made");
}

#[tokio::test]
async fn a_busy_connection_makes_place_for_a_new_one_when_it_is_old() {
    let (url, accepted) = vendor().await;
    let connector =
        Connector::new(&[url], None, None, Duration::from_secs(3)).expect("no TLS, no trust roots");
    let pool = Pool::new(Arc::new(connector));
    for _ in 0..3 {
        call(&pool).await;
    }
    assert_eq!((*lock(&accepted), lock(&pool.idle[0]).len()), (1, 1), "kept while it is young");
    lock(&pool.idle[0])[0].connection.grow_old();
    // The call that finds the connection old still uses it; the next call opens a new one.
    call(&pool).await;
    assert_eq!((*lock(&accepted), lock(&pool.idle[0]).len()), (1, 0));
    call(&pool).await;
    assert_eq!((*lock(&accepted), lock(&pool.idle[0]).len()), (2, 1));
    // The connection is closed before its idle time is over.
    lock(&pool.idle[0])[0].connection.grow_old();
    pool.trim(Instant::now());
    assert!(lock(&pool.idle[0]).is_empty());
}

#[test]
fn the_deadline_leaves_time_for_the_call() {
    let seconds = Duration::from_secs;
    let begin = Instant::now();
    let longest = |asked, whole, gone| {
        let (start, call) = (begin + seconds(gone), begin + seconds(whole));
        let deadlines = Deadlines { call, whole: seconds(whole), response: seconds(25), late_at: None };
        deadlines.wait_end(start, seconds(asked)) - start
    };
    assert_eq!(longest(60, 28, 0), seconds(23));
    assert_eq!(longest(2, 28, 0), seconds(2));
    assert_eq!(longest(60, 4, 0), seconds(2));
    assert_eq!(longest(60, 28, 20), seconds(3), "what went by with other things is gone");
    assert_eq!(longest(60, 28, 26), seconds(0));
}
