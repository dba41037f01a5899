//! An authenticating reverse proxy for the JPush (Jiguang) REST API.

pub mod auth;
pub mod body;
pub mod budget;
pub mod config;
pub mod operation;
pub mod refusal;
pub mod secret;
pub mod tenant;
