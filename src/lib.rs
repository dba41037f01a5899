//! An authenticating reverse proxy for the `JPush` (Jiguang) REST API.
//!
//! Internal apps call the gateway with a token of their own. It knows the caller, picks the tenant, puts in that
//! tenant's credential, checks the body, keeps the vendor's shared budgets exactly, forwards, and measures.
//!
//! # Code map
//!
//! One request, top to bottom: [`server`] accepts, [`gateway`] tells the story, and the stages are
//! [`strict`] → [`auth`] → [`operation`] → [`tenant`] → [`body_reader`] → [`body`] → [`budget`] and [`store`] → [`outbound`] →
//! [`upstream`] → [`answer`], with [`refusal`] wherever the story ends early and [`telemetry`] writing one record,
//! whatever happened. What they pass on is a [`request`] and a [`response`], made of a [`target`], [`fields`] and
//! [`framing`], which know HTTP and nothing else. [`config`] turns YAML into checked values once, [`active_config`] resolves them for the stages,
//! [`reload`] puts one in the place of another, [`ledger`] keeps the budgets over restarts, [`app`] ties it all
//! together, [`identity`], [`pem`] and [`x509`] read certificates, and [`sandbox`] is a vendor to try it against.
//!
//! # Invariants
//!
//! - The vendor never counts more calls of a key in any window than its budget allows ([`budget`]).
//! - A call is sent again only if no byte of it was written ([`upstream::Failure::NotSent`]) or the vendor knows it by its
//!   cid; what may have been delivered is never sent again without one ([`dedup`]).
//! - A call that was dispatched is finished and counted, also when its caller is gone ([`detach`]).
//! - Sending needs a [`tenant::Grant`], a [`payload::Payload`] and a [`payment::Payment`]: what is not authorized,
//!   checked and paid for does not compile.
//! - Secrets have no `Debug` and no `Display` ([`secret`]).
//!
//! # Words
//!
//! *vendor*: `JPush`. *tenant*: one vendor application with its credentials. *caller*: an internal program. *budget*:
//! how many calls the vendor allows a key in a window. *operation*: one row of the table of vendor calls. *slot*: one
//! call's place in a budget. *permit*: the slots of one call, held. *payment*: a permit, with what the store gave for it.

pub mod active_config;
pub mod admin;
pub mod admission;
pub mod answer;
pub mod app;
pub mod auth;
pub mod body;
pub mod body_reader;
pub mod budget;
pub mod causes;
pub mod cli;
pub mod config;
pub mod dedup;
pub mod delivery;
pub mod detach;
pub mod fields;
pub mod framing;
pub mod gateway;
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
pub mod response;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod service_manager;
pub mod signals;
pub mod store;
pub mod strict;
pub mod target;
pub mod telemetry;
pub mod tenant;
pub mod upstream;
pub mod waiting;
pub mod x509;
