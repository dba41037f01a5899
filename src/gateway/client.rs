//! Who is at the other end of a connection of a caller's.

use std::sync::Arc;

use crate::auth::ClientCertificate;

/// Who is at the other end of a connection.
#[derive(Clone, Copy)]
pub struct Client<'c> {
    /// Its address with its port, where there is one: as it is, or as the proxy before us says.
    pub address: Option<&'c Arc<str>>,
    /// Who it showed to be in a TLS handshake.
    pub certificate: Option<&'c ClientCertificate>,
}
