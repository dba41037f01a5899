//! The built binary, driven from outside over real sockets: what the gateway promises to those around it.

mod access;
mod answers;
mod budgets;
mod failures;
mod forwarding;
mod framing;
mod operations;
mod paths;
mod support;

// Modules are named after what they test; `support` starts programs, speaks raw HTTP and plays the vendor.
