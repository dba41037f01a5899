//! Callers known by a client certificate: by the names in it that their configuration lists.

use super::{Directory, Principal, TenantsNamed};

/// Whose names a certificate carries.
pub enum Holder<'d> {
    /// No caller's.
    Nobody,
    /// One caller's.
    One(Principal<'d>),
    /// Those of more than one: it cannot tell who calls.
    Several,
}

impl Directory {
    /// Finds the caller that lists one of these names, byte for byte.
    pub fn certified<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Holder<'_> {
        let mut holder = Holder::Nobody;
        for (caller, token) in names.into_iter().filter_map(|name| self.by_certificate.get(name).copied()) {
            match &holder {
                Holder::One(known) if known.caller == caller => {}
                Holder::Nobody => {
                    holder = Holder::One(Principal { caller, token, wanted: TenantsNamed::Unnamed });
                }
                Holder::One(_) | Holder::Several => return Holder::Several,
            }
        }
        holder
    }

    /// Every name of a certificate in the configuration: its caller, and its position behind that caller's tokens.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        self.by_certificate.iter().map(|(name, (caller, token))| (name.as_str(), *caller, *token))
    }

    /// The caller that lists a name, and the name's position there.
    pub fn certificate_named(&self, name: &str) -> Option<(usize, usize)> {
        self.by_certificate.get(name).copied()
    }
}
