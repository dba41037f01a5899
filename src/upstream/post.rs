//! One message to a server that is not the vendor, on a connection of its own.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::time::timeout_at;

use super::connection::Break;
use super::{Connector, ConnectorError, Deadlines};

use crate::http1::client::ExchangeError;
use crate::http1::message::Message;
use crate::tenant::OriginId;

/// The reason why a message was not answered.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// There was no connection.
    #[error("no connection")]
    Connect(#[from] ConnectorError),
    /// The connection broke before the head of the answer.
    #[error("the connection broke before an answer")]
    Broken(#[source] Break),
    /// There was no answer in time.
    #[error("no answer in time")]
    Late,
}

/// Sends a message to the connector's first base URL and returns the status of the answer, of which nothing else is
/// read. The host's circuit is neither asked nor told.
pub async fn post(
    connector: &Connector,
    message: &Message,
    limit: Duration,
) -> Result<StatusCode, PostError> {
    let due = Instant::now() + limit;
    let connected = timeout_at(due.into(), connector.connect(OriginId(0))).await;
    let mut connection = connected.unwrap_or(Err(ConnectorError::TimedOut))?;
    let deadlines = Deadlines { call: due, whole: limit, response: limit, late_at: None };
    let answered = connection.exchange(message, Instant::now(), deadlines).await;
    let answered = answered.map_err(|error| match error {
        ExchangeError::Unwritten(why) | ExchangeError::Written(why) => PostError::Broken(why.into()),
        ExchangeError::Late => PostError::Late,
    })?;
    Ok(answered.head.status)
}
