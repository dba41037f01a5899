//! An authenticating reverse proxy for the `JPush` (Jiguang) REST API.
//!
//! Internal apps call the gateway with a token of their own. The gateway identifies the caller, selects the tenant,
//! inserts that tenant's credential, checks the body, keeps within the vendor's call budgets, forwards the call and
//! records metrics.
//!
//! # Code map
//!
//! A request passes these modules: [`server`] accepts the connection, [`gateway`] handles the request, and its stages
//! are [`strict`] → [`auth`] → [`operation`] → [`tenant`] → [`body_reader`] → [`body`] → [`budget`] and [`store`] →
//! [`outbound`] → [`upstream`] → [`answer`]. A stage that stops the request returns a [`refusal`]; [`telemetry`] writes
//! one record for every request. Stages exchange a [`request`] with its target and a response, whose
//! parts are in [`http1`], which knows HTTP and nothing else. [`config`] reads YAML into checked values,
//! [`active_config`] resolves them for the stages, [`reload`] replaces one configuration by another, [`ledger`] keeps
//! budgets over restarts, and [`app`] connects all of it. [`identity`], [`pem`] and [`x509`] read certificates, and [`sandbox`] simulates the
//! vendor.
//!
//! # Invariants
//!
//! - The vendor never counts more calls of a key in any window than its budget allows ([`budget`]).
//! - A call is sent again only if no byte of it was written ([`upstream::Failure::NotSent`]) or if the vendor
//!   recognises it by its cid. A call without a cid that may have been delivered is never repeated ([`dedup`]).
//! - A call that was dispatched is finished and counted, also if its caller disconnects ([`detach`]).
//! - Sending needs a [`tenant::Grant`], a [`payload::Payload`] and a [`payment::Payment`], so a call that was not
//!   authorized, checked and paid for does not compile.
//! - Secrets have no `Debug` and no `Display` ([`secret`]).
//!
//! # Glossary
//!
//! *vendor*: `JPush`. *tenant*: one vendor application with its credentials. *caller*: an internal program that uses
//! the gateway. *budget*: the number of calls that the vendor allows a key in a window. *operation*: one row of the
//! table of vendor calls. *slot*: one call's place in a budget. *permit*: the slots of one call, held. *payment*: a
//! permit together with what the store granted for it.

pub mod active_config;
pub mod admin;
pub mod admission;
pub mod answer;
pub mod app;
pub mod auth;
pub mod body;
pub mod body_reader;
pub mod boot_time;
pub mod budget;
pub mod causes;
pub mod cli;
pub mod config;
pub mod dedup;
pub mod delivery;
pub mod detach;
pub mod gateway;
pub mod http1;
pub mod identity;
pub mod ledger;
mod lock;
pub mod operation;
pub mod outbound;
pub mod payload;
pub mod payment;
pub mod pem;
pub mod refusal;
pub mod reload;
pub mod request;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod service_manager;
pub mod signals;
pub mod store;
pub mod stored_call;
pub mod strict;
pub mod telemetry;
pub mod tenant;
pub mod upstream;
pub mod waiting;
pub mod x509;
