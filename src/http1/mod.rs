//! HTTP/1.1 as the gateway speaks it with callers and with the vendor. It knows nothing else of the gateway.

pub mod answer_head;
pub mod body;
pub mod client;
mod encode;
pub mod fields;
pub mod framing;
pub mod head;
pub mod host;
pub mod message;
pub mod response;
pub mod server;
pub mod stream;
pub mod target;
