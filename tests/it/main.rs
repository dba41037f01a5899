//! The built binary, driven from outside over real sockets: what the gateway promises to those around it.

mod access;
mod admin;
mod answers;
mod audit;
mod bodies;
mod budgets;
mod certificates;
mod circuit;
mod cli;
mod demo;
mod drain;
mod failures;
mod forwarding;
mod framing;
mod limits;
mod operations;
mod paths;
mod proxy;
mod reload;
mod repeats;
mod restart;
mod support;
mod tls;
mod uploads;
mod validate;
mod waiting;
