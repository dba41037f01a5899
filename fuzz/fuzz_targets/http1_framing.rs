//! A body in chunks, of a length or up to the end of its connection, by the gateway's reader and by hyper's.

#![no_main]

use jpush_gateway_fuzz::http1::framing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| framing(bytes));
