//! The head of an answer, by the gateway's reader and by hyper's.

#![no_main]

use jpush_gateway_fuzz::http1::answer_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| answer_head(bytes));
