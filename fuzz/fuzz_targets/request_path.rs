//! Any bytes on a connection: no panic, no call that nobody whose token is in the bytes may make, an answer to each call.
//!
//! The first byte is the length of the pieces the rest is sent in, in steps of eight; 0: all at once. From 128 on the
//! caller ends its side with the last piece.

#![no_main]

use jpush_gateway_fuzz::request_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((step, input)) = bytes.split_first() else { return };
    let piece = if step & 0x7f == 0 { input.len().max(1) } else { usize::from(step & 0x7f) * 8 };
    let ends = usize::from(step >> 7);
    // An odd length is what tells the end of the side.
    request_path(input, piece.next_multiple_of(2) + ends);
});
