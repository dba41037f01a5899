//! Reads the validity period of a certificate. The TLS library looks at it only when it verifies a peer's certificate,
//! not for the gateway's own.

use std::time::{Duration, SystemTime};

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

/// Validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second in which the certificate is valid.
    pub not_before: SystemTime,
    /// Last second in which the certificate is valid.
    pub not_after: SystemTime,
}

impl Validity {
    /// Reads the validity of a certificate in DER. `None` if it is no certificate of RFC 5280, or if a date is before
    /// 1970.
    pub fn of(der: &[u8]) -> Option<Self> {
        let validity = *Certificate::from_der(der).ok()?.tbs_certificate().validity();
        let instant = |time: Time| SystemTime::UNIX_EPOCH.checked_add(time.to_unix_duration());
        Some(Self { not_before: instant(validity.not_before)?, not_after: instant(validity.not_after)? })
    }

    /// End of the validity, in whole seconds of Unix time.
    pub fn not_after_seconds(&self) -> i64 {
        let since = self.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(not_before: (i32, u8, u8), not_after: (i32, u8, u8)) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["gateway.example".to_owned()]).expect("a DNS name");
        params.not_before = rcgen::date_time_ymd(not_before.0, not_before.1, not_before.2);
        params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn both_forms_of_a_date_are_read() {
        // Until 2049 with two digits of the year, then with four.
        let rows = [
            ((1970, 1, 1), (2026, 11, 27), 1_795_737_600),
            ((2026, 11, 27), (2049, 12, 31), 2_524_521_600),
            ((2026, 11, 27), (2050, 1, 1), 2_524_608_000),
            ((2051, 1, 1), (9999, 12, 31), 253_402_214_400),
        ];
        for (not_before, not_after, expected) in rows {
            let validity = Validity::of(&certificate(not_before, not_after)).expect("a certificate");
            assert_eq!(validity.not_after_seconds(), expected, "{not_after:?}");
            assert!(validity.not_before < validity.not_after);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        let whole = certificate((2026, 1, 1), (2027, 1, 1));
        for length in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..length]), None, "the first {length} bytes");
        }
        assert_eq!(Validity::of(&[whole, vec![0]].concat()), None);
    }
}
