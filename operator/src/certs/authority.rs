//! Which certificates there should be at a given second. Pure but for the making of keys.
//!
//! Each rotation makes a CA, lets it sign one leaf and forgets the CA's key, so there is none to steal. A new pair is
//! first *announced*: its CA stands in the bundle beside the old one while the old leaf is still served. Only after
//! [`OVERLAP`], when every apiserver has long seen the bundle, it is *promoted*. So at no moment a replica serves a leaf
//! that an apiserver cannot check, however the replicas' timers fall.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use serde::{Deserialize, Serialize};

/// How long CA and leaf are valid.
pub const LIFETIME: Duration = Duration::from_hours(24);
/// How long before its end a pair's successor is announced: time for many failed attempts.
pub const RENEW_BEFORE: Duration = Duration::from_hours(12);
/// How long a successor is announced before it is served: far longer than an apiserver takes to see a new bundle (under
/// a second) and than replicas take to read the Secret (30 s).
pub const OVERLAP: Duration = Duration::from_mins(10);
/// Of a service's name in a common name, which has 64 characters at most.
const MAX_SERVICE: usize = 40;
/// For clocks that run behind ours.
const BACKDATE: Duration = Duration::from_hours(1);

/// A private key as PEM; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// From PEM.
    pub fn new(pem: String) -> Self {
        Self(pem)
    }

    /// The text, for the TLS library and the Secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A leaf with its key and the CA that signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The CA, PEM.
    pub ca: String,
    /// The leaf, PEM.
    pub certificate: String,
    /// The leaf's key, PEM.
    pub key: Key,
    /// The names it is for.
    pub names: Vec<String>,
    /// Made at, seconds since 1970.
    pub made_at: i64,
    /// Valid until, seconds since 1970.
    pub not_after: i64,
}

/// Everything that the Secret holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Material {
    /// What is served.
    pub current: Pair,
    /// What is announced and will be served next.
    pub next: Option<Pair>,
    /// The CA before the current one, kept in the bundle for replicas that serve its leaf a moment longer.
    pub previous_ca: Option<String>,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make a certificate for {names:?}")]
pub struct CannotMake {
    names: Vec<String>,
    source: rcgen::Error,
}

impl Material {
    /// The CAs that the apiserver must trust, PEM, newest last.
    pub fn bundle(&self) -> String {
        let mut bundle = String::new();
        let next = self.next.as_ref().map(|next| &next.ca);
        for ca in self.previous_ca.iter().chain([&self.current.ca]).chain(next) {
            bundle.push_str(ca.trim_end());
            bundle.push('\n');
        }
        bundle
    }

    /// What should be stored at `now`, given what is; `None`: nothing changes. `is_trusted` says whether the apiserver was told
    /// of a CA: what it has not heard of is not promoted, however long ago it was announced.
    pub fn step(
        stored: Option<&Self>,
        names: &[String],
        now: i64,
        is_trusted: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>, CannotMake> {
        let Some(stored) = stored.filter(|stored| stored.current.usable(names, now)) else {
            // First start, a new Service name, or nobody ran for a day: there is nothing to overlap with.
            let current = Pair::make(names, now)?;
            return Ok(Some(Self {
                current,
                next: None,
                previous_ca: None,
            }));
        };
        match &stored.next {
            Some(next) if !next.usable(names, now) => Ok(Some(Self {
                next: Some(Pair::make(names, now)?),
                ..stored.clone()
            })),
            Some(next) if now - next.made_at >= seconds(OVERLAP) && is_trusted(&next.ca) => Ok(Some(Self {
                current: next.clone(),
                next: None,
                previous_ca: Some(stored.current.ca.clone()),
            })),
            None if stored.current.not_after - now <= seconds(RENEW_BEFORE) => Ok(Some(Self {
                current: stored.current.clone(),
                next: Some(Pair::make(names, now)?),
                previous_ca: None,
            })),
            Some(_) | None => Ok(None),
        }
    }

    /// From the Secret's data; `None` where it is empty or not ours: then new ones are made.
    pub fn from_secret(data: Option<&BTreeMap<String, ByteString>>) -> Option<Self> {
        serde_json::from_slice(&data?.get(STATE_KEY)?.0).ok()
    }

    /// The Secret's data. `ca.crt`, `tls.crt` and `tls.key` are there for people who look; [`STATE_KEY`] is what is read.
    pub fn to_secret(&self) -> Result<BTreeMap<String, ByteString>, serde_json::Error> {
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        Ok([
            (STATE_KEY.to_owned(), ByteString(serde_json::to_vec(self)?)),
            ("ca.crt".to_owned(), text(&self.bundle())),
            ("tls.crt".to_owned(), text(&self.current.certificate)),
            ("tls.key".to_owned(), text(self.current.key.expose())),
        ]
        .into())
    }
}

/// The Secret's key with all of [`Material`], as JSON.
pub const STATE_KEY: &str = "state.json";

impl Pair {
    fn usable(&self, names: &[String], now: i64) -> bool {
        self.names == names && now < self.not_after && now >= self.made_at - seconds(BACKDATE)
    }

    fn make(names: &[String], now: i64) -> Result<Self, CannotMake> {
        Self::sign(names, now).map_err(|source| CannotMake {
            names: names.to_vec(),
            source,
        })
    }

    fn sign(names: &[String], now: i64) -> Result<Self, rcgen::Error> {
        let not_after = now + seconds(LIFETIME);
        let instant = |at: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(at).unwrap_or(0));
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        ca.distinguished_name = rcgen::DistinguishedName::new();
        // Service and time make each CA's name its own: with two of one name in a bundle, verifiers may pick the wrong one.
        let service = names
            .first()
            .and_then(|name| name.split('.').next())
            .unwrap_or_default();
        let service: String = service.chars().take(MAX_SERVICE).collect();
        ca.distinguished_name
            .push(DnType::CommonName, format!("{service} CA {now}"));
        let mut leaf = CertificateParams::new(names.to_vec())?;
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, service);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        for params in [&mut ca, &mut leaf] {
            params.not_before = instant(now - seconds(BACKDATE));
            params.not_after = instant(not_after);
        }
        let (ca_key, leaf_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let ca_certificate = ca.self_signed(&ca_key)?;
        let certificate = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;
        Ok(Self {
            ca: ca_certificate.pem(),
            certificate: certificate.pem(),
            key: Key(leaf_key.serialize_pem()),
            names: names.to_vec(),
            made_at: now,
            not_after,
        })
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
