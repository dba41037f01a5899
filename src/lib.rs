//! An authenticating reverse proxy for the JPush (Jiguang) REST API.

pub mod admin;
pub mod answer;
pub mod auth;
pub mod body;
pub mod budget;
pub mod config;
pub mod detach;
pub mod edge;
pub mod gateway;
pub mod intake;
pub mod load;
pub mod operation;
pub mod outbound;
pub mod payload;
pub mod refusal;
pub mod secret;
pub mod server;
pub mod setup;
pub mod telemetry;
pub mod tenant;
pub mod vendor;
