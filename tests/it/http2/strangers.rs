//! Tests of connections whose client reads no answers: they hold little memory, with a limit, and are closed like idle
//! ones.

use super::*;
use crate::support::wait_until;

const CONNECTIONS: &str = "jpush_gateway_connections";
const HEAD_MEMORY: &str = "jpush_gateway_head_memory_bytes";

/// A settings payload with this `INITIAL_WINDOW_SIZE`.
fn window(bytes: u32) -> Vec<u8> {
    [&[0, 4][..], &bytes.to_be_bytes()].concat()
}

/// A request for tags with this credential, or with none.
fn tags(token: Option<&str>, stream: u32) -> Vec<u8> {
    let mut block = [&[0x82, 0x87][..], &field(&[0x01], "localhost"), &field(&[0x04], "/v3/tags")].concat();
    if let Some(token) = token {
        block.extend(field(&[0x0f, 0x08], &format!("Bearer {token}")));
    }
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

fn ping() -> Vec<u8> {
    frame(PING, NONE, 0, b"8 bytes.")
}

#[test]
fn answers_that_strangers_do_not_take_have_a_limit() {
    let scene = start("head_memory: 64KiB, idle_timeout: 1h");
    let mut peer = scene.open_with(&window(0));
    peer.0.send(streams(STREAMS_MAX).flat_map(|stream| tags(None, stream)).collect::<Vec<u8>>());
    let (mut answered, mut refused) = (Vec::new(), 0);
    while answered.len() + refused < STREAMS_MAX as usize {
        let frame = peer.next();
        match frame.kind {
            HEADERS => answered.push(frame.stream),
            RST_STREAM => {
                assert_eq!(number(&frame.payload), ENHANCE_YOUR_CALM);
                refused += 1;
            }
            DATA => panic!("there is no window: {frame:?}"),
            _ => {}
        }
    }
    // Twelve answers of 5 KiB fit the limit, and a few fit the allowance of each connection.
    assert!((5..=16).contains(&answered.len()), "{} wait", answered.len());
    let held = scene.gateway.metric(HEAD_MEMORY);
    assert!(held > 0.0 && held <= 64.0 * 1024.0, "{held}");
    // Other clients are answered, also without a credential, because they read their answers.
    let mut other = scene.open();
    for stream in streams(20) {
        other.0.send(tags(None, stream));
        assert!(!other.next_of(DATA, stream).payload.is_empty());
    }
    assert_eq!(scene.call(&[]).status(), 200);
    // This client is answered, too, once it reads.
    peer.0.send(frame(SETTINGS, NONE, 0, &window(65_535)));
    for stream in answered {
        peer.next_of(DATA, stream);
    }
    wait_until("nothing is held", || scene.gateway.metric(HEAD_MEMORY) < 0.5);
}

#[test]
fn pings_keep_no_connection() {
    let scene = start("idle_timeout: 400ms");
    let mut idle = scene.open();
    let mut deaf = scene.open_with(&window(0));
    deaf.0.send(streams(STREAMS_MAX).flat_map(|stream| tags(None, stream)).collect::<Vec<u8>>());
    // With a window of one byte, answers get as far as the HTTP/2 library.
    let mut slow = scene.open_with(&window(1));
    slow.0.send(streams(STREAMS_MAX).flat_map(|stream| tags(None, stream)).collect::<Vec<u8>>());
    wait_until("they are served", || scene.gateway.metric(CONNECTIONS) > 2.5);
    wait_until("they are closed", || {
        for peer in [&mut idle, &mut deaf, &mut slow] {
            let _ = peer.0.try_send(ping());
        }
        scene.gateway.metric(CONNECTIONS) < 0.5
    });
    assert!(scene.gateway.metric(HEAD_MEMORY) < 0.5);
}

#[test]
fn an_answer_that_is_not_taken_keeps_its_place() {
    let busy = |scene: &Scene| {
        let mut peer = scene.open_with(&window(0));
        peer.0.send([tags(Some(Tokens::ORDERS), 1), tags(Some(Tokens::ORDERS), 3)].concat());
        let mut answers = 0;
        while answers < 2 {
            answers += usize::from(peer.next().kind == HEADERS);
        }
        peer
    };
    let scene = start("in_flight: 4, idle_timeout: 1h");
    let mut peer = busy(&scene);
    assert_eq!(scene.call(&[]).status(), 503, "no caller holds more than half");
    peer.0.send(frame(SETTINGS, NONE, 0, &window(65_535)));
    wait_until("places come back", || scene.call(&[]).status() == 200);

    let scene = start("in_flight: 4, idle_timeout: 400ms");
    let mut peer = busy(&scene);
    wait_until("places come back", || {
        let _ = peer.0.try_send(ping());
        scene.call(&[]).status() == 200
    });
}

#[test]
fn a_beginning_that_comes_too_slowly() {
    let scene = start("header_timeout: 300ms, idle_timeout: 1h");
    let mut half = scene.open_silent();
    for byte in b"PRI * HT" {
        let _ = half.0.try_send([*byte]);
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    half.0.rest().expect("the gateway closes");
    let mut peer = scene.open();
    peer.0.send(frame(HEADERS, NONE, 1, &push(None)));
    peer.0.rest().expect("the gateway closes");
    let late = r#"jpush_gateway_bad_requests_total{kind="late"}"#;
    wait_until("both are counted", || scene.gateway.metric(late) > 1.5);
    scene.assert_unharmed();
}

#[test]
fn unfinished_heads_have_a_limit_together() {
    let scene = start("head_memory: 64KiB, header_timeout: 1h");
    let mut peers: Vec<_> = (0..4).map(|_| scene.open()).collect();
    for peer in &mut peers {
        let filler = field(&[0x00, 1, b'x'], "y").repeat(2_000);
        let _ = peer.0.try_send(frame(HEADERS, NONE, 1, &[push(None), filler].concat()));
    }
    wait_until("there is no room for all of them", || scene.gateway.metric(CONNECTIONS) < 3.5);
    assert!(scene.gateway.metric(HEAD_MEMORY) <= 64.0 * 1024.0);
    scene.assert_unharmed();
    drop(peers);
    wait_until("it comes back", || scene.gateway.metric(HEAD_MEMORY) < 0.5);
}
