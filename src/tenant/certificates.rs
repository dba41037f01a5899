//! Identifies callers by client certificate: by the names in it that their configuration lists.

use super::{Directory, Principal, TenantsNamed};

/// The caller that a certificate belongs to.
pub enum CertificateOwner<'d> {
    /// No caller lists a name of it.
    Nobody,
    /// One caller lists names of it.
    One(Principal<'d>),
    /// Several callers list names of it, so it identifies none.
    Several,
}

impl Directory {
    /// Finds the caller that lists one of these names, compared byte for byte.
    pub fn certified<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> CertificateOwner<'_> {
        let mut owner = CertificateOwner::Nobody;
        for (caller, token) in names.into_iter().filter_map(|name| self.by_certificate.get(name).copied()) {
            match &owner {
                CertificateOwner::One(known) if known.caller == caller => {}
                CertificateOwner::Nobody => {
                    owner = CertificateOwner::One(Principal { caller, token, wanted: TenantsNamed::Unnamed });
                }
                CertificateOwner::One(_) | CertificateOwner::Several => return CertificateOwner::Several,
            }
        }
        owner
    }

    /// Every certificate name in the configuration, with the position of its caller and its own position after that
    /// caller's tokens.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        self.by_certificate.iter().map(|(name, (caller, token))| (name.as_str(), *caller, *token))
    }

    /// Positions of the caller that lists a name, and of the name in
    /// [`Caller::token_names`](super::Caller::token_names).
    pub fn certificate_named(&self, name: &str) -> Option<(usize, usize)> {
        self.by_certificate.get(name).copied()
    }
}
