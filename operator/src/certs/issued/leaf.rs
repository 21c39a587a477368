//! Whether what a Secret holds can be served now: pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem};
use rustls::sign::CertifiedKey;

use super::super::authority::Key;
use super::super::{BadPair, certified};

/// A certificate that can be served.
#[derive(Debug)]
pub struct Leaf {
    /// With its chain and key.
    pub certified: CertifiedKey,
    /// What clients must trust, PEM.
    pub bundle: String,
    /// Valid until, seconds since 1970.
    pub not_after: i64,
}

/// Why the content of a Secret cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A key of the Secret is missing or no text.
    #[error("the Secret has no {0}; an Issuer that gives no ca.crt, such as ACME, cannot be used for a webhook")]
    Missing(&'static str),
    /// The pair is no pair.
    #[error(transparent)]
    Pair(#[from] BadPair),
    /// `ca.crt` is no PEM.
    #[error("ca.crt is not PEM")]
    Bundle(#[source] pem::Error),
    /// Nobody would take it: another name, expired, or of another CA.
    #[error("who trusts ca.crt would not take tls.crt as {0}")]
    Refused(String, #[source] rustls::Error),
    /// It does not say until when it is valid.
    #[error("tls.crt does not say until when it is valid")]
    NoEnd,
}

impl Leaf {
    /// From the Secret's data, for the name `dns` at `now` (seconds since 1970).
    ///
    /// # Errors
    /// What keeps it from being served.
    pub fn read(data: Option<&BTreeMap<String, ByteString>>, dns: &str, now: i64) -> Result<Self, Unfit> {
        let text = |key: &'static str| {
            let bytes = data.and_then(|data| data.get(key));
            let text = bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
            text.filter(|text| !text.trim().is_empty()).ok_or(Unfit::Missing(key))
        };
        let (certificate, key, bundle) = (text("tls.crt")?, Key::new(text("tls.key")?), text("ca.crt")?);
        let certified = certified(&certificate, &key)?;
        verify(&certified, &bundle, dns, now)?;
        let not_after = certified
            .cert
            .first()
            .and_then(|leaf| not_after(leaf))
            .ok_or(Unfit::NoEnd)?;
        Ok(Self {
            certified,
            bundle,
            not_after,
        })
    }
}

/// As the apiserver and the sidecars will look at it.
fn verify(certified: &CertifiedKey, bundle: &str, dns: &str, now: i64) -> Result<(), Unfit> {
    let refused = |error| Unfit::Refused(dns.to_owned(), error);
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(ca.map_err(Unfit::Bundle)?).map_err(refused)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| refused(rustls::Error::General(error.to_string())))?;
    let name =
        ServerName::try_from(dns.to_owned()).map_err(|error| refused(rustls::Error::General(error.to_string())))?;
    let (leaf, chain) = certified.cert.split_first().ok_or(Unfit::NoEnd)?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
    verifier
        .verify_server_cert(leaf, chain, &name, &[], now)
        .map(|_| ())
        .map_err(refused)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter` of an X.509 certificate (RFC 5280, 4.1), in seconds since 1970. The one field that the TLS library checks and
/// does not tell.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else {
        return None;
    };
    let (tag, text, _) = element(element(validity)?.2)?;
    let text = std::str::from_utf8(text).ok()?;
    let full = match tag {
        // Two digits of the year: 50 to 99 are of the last century.
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? >= 50 => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = DateTime::strptime("%Y%m%d%H%M%SZ", &full).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The first DER element: tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            rest,
        )
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::super::super::authority::{Material, Pair};
    use super::*;

    const DNS: &str = "bowsprit-webhook.bowsprit-system.svc";
    const NOW: i64 = 1_800_000_000;

    fn pair(now: i64) -> Pair {
        let material = Material::step(None, &[DNS.to_owned()], now, |_| true).unwrap().unwrap();
        material.current
    }

    fn secret(pair: &Pair) -> BTreeMap<String, ByteString> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        [
            ("tls.crt".to_owned(), bytes(&pair.certificate)),
            ("tls.key".to_owned(), bytes(pair.key.expose())),
            ("ca.crt".to_owned(), bytes(&pair.ca)),
        ]
        .into()
    }

    #[test]
    fn what_its_own_ca_vouches_for_is_taken_with_its_end() {
        let leaf = Leaf::read(Some(&secret(&pair(NOW))), DNS, NOW).unwrap();
        assert_eq!(leaf.not_after, NOW + 24 * 3_600);
        assert!(leaf.bundle.starts_with("-----BEGIN CERTIFICATE"));
    }

    #[test]
    fn years_of_both_forms_are_read() {
        let far = pair(2_600_000_000);
        let far = CertificateDer::from_pem_slice(far.certificate.as_bytes()).unwrap();
        assert_eq!(
            not_after(&far),
            Some(2_600_000_000 + 24 * 3_600),
            "after 2049 in the long form"
        );
        for end in 0..far.len() {
            assert_eq!(not_after(&far[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn what_no_client_would_take_is_refused_with_the_reason() {
        let (good, other) = (pair(NOW), pair(NOW + 1));
        let without = |key: &str| {
            let mut data = secret(&good);
            data.remove(key);
            data
        };
        let with = |key: &str, text: &str| {
            let mut data = secret(&good);
            data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
            data
        };
        let refused = |data, dns, now| Leaf::read(Some(&data), dns, now).unwrap_err().to_string();
        assert!(refused(without("ca.crt"), DNS, NOW).contains("no ca.crt"));
        assert!(refused(without("tls.key"), DNS, NOW).contains("no tls.key"));
        assert!(refused(with("tls.key", other.key.expose()), DNS, NOW).contains("key"));
        assert!(refused(with("ca.crt", &other.ca), DNS, NOW).contains("would not take"));
        assert!(refused(with("ca.crt", "-----BEGIN CERTIFICATE-----"), DNS, NOW).contains("ca.crt"));
        assert!(refused(secret(&good), "other.svc", NOW).contains("other.svc"));
        assert!(refused(secret(&good), DNS, NOW + 25 * 3_600).contains("would not take"));
        assert!(Leaf::read(None, DNS, NOW).is_err());
    }
}
