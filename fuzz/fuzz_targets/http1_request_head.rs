//! The head of a request, by the gateway's reader and by hyper's.

#![no_main]

use jpush_gateway_fuzz::http1::request_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| request_head(bytes));
