//! Checks certificates and keys that the configuration names. A fault is reported at the key of the file that it is in.

use std::path::PathBuf;

use super::reader::ConfigValue;
use super::sources::Outside;
use super::values::CertificateFiles;
use crate::causes::Causes;

impl Outside<'_> {
    /// Reads the paths of a certificate chain and its private key, and checks that they are good and belong together.
    pub(super) fn identity<'n>(
        &self,
        certificate: Option<&ConfigValue<'n>>,
        private_key: Option<&ConfigValue<'n>>,
    ) -> Option<CertificateFiles> {
        let chain_file = certificate.and_then(|value| self.file(value));
        let key_file = private_key.and_then(|value| self.file(value));
        for fault in self.sources.identity_faults(chain_file.as_deref(), key_file.as_deref()) {
            let value = if fault.is_of_key() { private_key } else { certificate };
            value.expect("a fault is in a file that was written").fault(Causes(&fault).to_string());
        }
        Some(CertificateFiles { certificate: chain_file?, private_key: key_file? })
    }

    /// Reads the path of a PEM bundle of trust roots and checks it.
    pub(super) fn roots(&self, value: &ConfigValue<'_>) -> Option<PathBuf> {
        let path = self.file(value)?;
        match self.sources.roots_fault(&path) {
            None => Some(path),
            Some(fault) => value.refuse(Causes(&fault).to_string()),
        }
    }
}
