//! The order and times of attempts, on tokio's paused clock.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

/// The behaviour of an address.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Accepts(u64),
    Refuses(u64),
    Nothing,
}

use Behaviour::{Accepts, Nothing, Refuses};

fn v4(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 443))
}

fn v6(last: u16) -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 443))
}

/// The address that won, the time, and the time of each attempt, in milliseconds.
type Story = (Option<SocketAddr>, u64, Vec<(SocketAddr, u64)>);

/// Races addresses with this behaviour under a connect timeout.
async fn story(does: &[(SocketAddr, Behaviour)], timeout_ms: u64) -> Story {
    let start = tokio::time::Instant::now();
    let now = || u64::try_from(start.elapsed().as_millis()).expect("short");
    let tried = RefCell::new(Vec::new());
    let connect = |address| {
        tried.borrow_mut().push((address, now()));
        let (_, does) = *does.iter().find(|(known, _)| *known == address).expect("an address of the test");
        async move {
            match does {
                Accepts(after) => {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    Ok(())
                }
                Refuses(after) => {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Nothing => std::future::pending().await,
            }
        }
    };
    let addresses: Vec<_> = does.iter().map(|(address, _)| *address).collect();
    let timeout = Duration::from_millis(timeout_ms);
    let race = race(&addresses, delay_for(timeout, addresses.len()), connect);
    let winner = tokio::time::timeout(timeout, race).await.ok().and_then(Result::ok);
    let address = winner.map(|winner| winner.address);
    (address, now(), tried.take())
}

#[tokio::test(start_paused = true)]
async fn the_next_address_is_tried_when_one_failed_or_said_nothing() {
    let (a, b, c) = (v4(1), v4(2), v6(3));
    let rows: [(&[(SocketAddr, Behaviour)], Story); 8] = [
        (&[(a, Accepts(40))], (Some(a), 40, vec![(a, 0)])),
        // The first address answers within the delay: no other is tried.
        (&[(a, Accepts(249)), (b, Accepts(1))], (Some(a), 249, vec![(a, 0)])),
        // One of two addresses of a family is silent.
        (&[(a, Nothing), (b, Accepts(10))], (Some(b), 260, vec![(a, 0), (b, 250)])),
        // The first address is slow, and still wins.
        (&[(a, Accepts(300)), (b, Accepts(100))], (Some(a), 300, vec![(a, 0), (b, 250)])),
        // A refusal starts the next attempt at once.
        (&[(a, Refuses(5)), (b, Refuses(5)), (c, Accepts(5))], (Some(c), 15, vec![(a, 0), (b, 5), (c, 10)])),
        // A failed attempt starts the next one although another is still pending.
        (
            &[(a, Nothing), (b, Refuses(10)), (c, Accepts(5))],
            (Some(c), 265, vec![(a, 0), (b, 250), (c, 260)]),
        ),
        (&[(a, Refuses(1)), (b, Refuses(2))], (None, 3, vec![(a, 0), (b, 1)])),
        (&[(a, Nothing), (b, Nothing)], (None, 3_000, vec![(a, 0), (b, 250)])),
    ];
    for (does, expected) in rows {
        assert_eq!(story(does, 3_000).await, expected, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_address_has_its_turn_within_a_short_time_to_connect() {
    let does: Vec<_> = (1..16).map(|last| (v4(last), Nothing)).chain([(v4(16), Accepts(1))]).collect();
    for timeout_ms in [200, 1_000, 3_000] {
        let (winner, at, tried) = story(&does, timeout_ms).await;
        assert_eq!((winner, tried.len()), (Some(v4(16)), 16), "{timeout_ms}");
        assert!(at < timeout_ms, "{at} of {timeout_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_became_of_each_address_is_told() {
    let addresses = [v4(1), v6(2)];
    let connect = |_| std::future::ready(Err::<(), io::Error>(io::ErrorKind::ConnectionRefused.into()));
    let error = race(&addresses, ATTEMPT_DELAY, connect).await.err().expect("nobody accepts");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(error.to_string(), "192.0.2.1:443: connection refused; [2001:db8::2]:443: connection refused");
    let error = race(&[], ATTEMPT_DELAY, connect).await.err().expect("there is no address");
    assert_eq!(error.to_string(), "the name has no address");
}

#[test]
fn families_take_turns() {
    let sorted = |found: &[SocketAddr]| alternate_families(found.iter().copied());
    assert_eq!(sorted(&[]), []);
    assert_eq!(sorted(&[v4(1), v4(2), v4(1)]), [v4(1), v4(2)]);
    assert_eq!(sorted(&[v6(1), v6(2), v4(3), v4(4)]), [v6(1), v4(3), v6(2), v4(4)]);
    assert_eq!(sorted(&[v4(1), v6(2), v6(3), v6(4)]), [v4(1), v6(2), v6(3), v6(4)]);
    let many: Vec<_> = (0..200).map(v6).chain([v4(1)]).collect();
    let found = sorted(&many);
    assert_eq!((found.len(), found[1]), (ADDRESSES_MAX, v4(1)), "the only one of its family is not left out");
}

#[test]
fn an_address_that_did_not_do_is_last_for_a_while() {
    let (memory, start) = (FailedAddresses::default(), Instant::now());
    let all = || vec![v4(1), v4(2), v4(3)];
    let after = |seconds| start + Duration::from_secs(seconds);
    memory.avoid(v4(1), start);
    assert_eq!(memory.sort(all(), after(599)), [v4(2), v4(3), v4(1)]);
    memory.avoid(v4(2), after(1));
    memory.avoid(v4(3), after(2));
    assert_eq!(memory.sort(all(), after(3)), [v4(1), v4(2), v4(3)], "the longest ago is worth the first try");
    memory.avoid(v4(1), after(4));
    assert_eq!(memory.sort(all(), after(5)), [v4(2), v4(3), v4(1)]);
    memory.forgive(v4(1));
    assert_eq!(memory.sort(all(), after(5)), [v4(1), v4(2), v4(3)]);
    assert_eq!(memory.sort(vec![v4(2), v4(1)], after(700)), [v4(2), v4(1)], "forgotten");
    assert_eq!(memory.sort(vec![v4(9)], after(5)), [v4(9)], "of the addresses there are now");
    for last in 0..100 {
        memory.avoid(v6(last), after(6));
    }
    assert!(memory.lock().len() <= ADDRESSES_MAX);
}

#[test]
fn a_connection_that_came_to_nothing_speaks_against_its_address() {
    let memory = FailedAddresses::default();
    let trial = || Trial { memory: &memory, address: v4(1), is_good: false };
    let order = || memory.sort(vec![v4(1), v4(2)], Instant::now());
    drop(trial());
    assert_eq!(order(), [v4(2), v4(1)]);
    trial().passed();
    assert_eq!(order(), [v4(1), v4(2)]);
}

proptest! {
    /// If one address accepts in time, there is a connection, whatever the others do.
    #[test]
    fn one_good_address_is_enough(
        others in proptest::collection::vec(prop_oneof![
            (0..4_000_u64).prop_map(Accepts), (0..4_000_u64).prop_map(Refuses), Just(Nothing),
        ], 0..15),
        at in 0..16_usize,
    ) {
        let mut does = others;
        does.insert(at.min(does.len()), Accepts(10));
        let does: Vec<_> = does.into_iter().zip(1..).map(|(does, last)| (v4(last), does)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let (winner, at, _) = runtime.block_on(story(&does, 3_000));
        prop_assert!(winner.is_some() && at < 3_000);
    }
}
