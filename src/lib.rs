//! An authenticating reverse proxy for the JPush (Jiguang) REST API.

pub mod body;
pub mod config;
pub mod operation;
pub mod sandbox;
pub mod secret;
