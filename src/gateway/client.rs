//! The client at the other end of a caller's connection.

use std::sync::Arc;

use crate::auth::ClientCertificate;

/// The client at the other end of a connection.
#[derive(Clone, Copy)]
pub struct Client<'c> {
    /// The client's address with its port, if there is one: that of the connection, or the one that a proxy reported.
    pub address: Option<&'c Arc<str>>,
    /// The certificate that the client showed in the TLS handshake.
    pub certificate: Option<&'c ClientCertificate>,
}
