use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;

const START: i64 = 1_800_000_000;
const HOUR: i64 = 3_600;

fn names() -> Vec<String> {
    vec!["bowsprit-webhook.bowsprit-system.svc".into()]
}

/// Walks on to `now`, one step at a time as the keeper does.
fn advance(material: Material, now: i64) -> Material {
    Material::step(Some(&material), &names(), now, |_| true)
        .unwrap()
        .unwrap_or(material)
}

fn fresh() -> Material {
    Material::step(None, &names(), START, |_| true).unwrap().unwrap()
}

/// Whether an apiserver with this bundle takes this leaf at that second.
fn trusts(bundle: &str, pair: &Pair, now: i64) -> bool {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(ca.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let leaf = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let name = ServerName::try_from(pair.names[0].clone()).unwrap();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap()));
    verifier.verify_server_cert(&leaf, &[], &name, &[], time).is_ok()
}

#[test]
fn the_first_pair_is_trusted_by_its_bundle_until_it_expires() {
    let material = fresh();
    assert!(trusts(&material.bundle(), &material.current, START));
    assert!(
        trusts(&material.bundle(), &material.current, START - 30 * 60),
        "a clock that is behind"
    );
    assert!(!trusts(&material.bundle(), &material.current, START + 25 * HOUR));
}

#[test]
fn nothing_changes_for_the_first_half_of_its_life() {
    assert!(
        Material::step(Some(&fresh()), &names(), START + 11 * HOUR, |_| true)
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_successor_is_announced_before_it_is_served() {
    let first = fresh();
    let announced = advance(first.clone(), START + 12 * HOUR);
    assert_eq!(announced.current, first.current);
    let next = announced.next.clone().unwrap();
    assert!(trusts(&announced.bundle(), &next, START + 12 * HOUR));
    assert!(!trusts(&first.bundle(), &next, START + 12 * HOUR));

    let waiting = advance(announced.clone(), START + 12 * HOUR + 599);
    assert_eq!(waiting, announced);
    let promoted = advance(announced, START + 12 * HOUR + 600);
    assert_eq!(promoted.current, next);
    assert!(promoted.next.is_none());
    assert!(
        trusts(&promoted.bundle(), &first.current, START + 13 * HOUR),
        "replicas that are a moment behind"
    );
}

#[test]
fn what_the_apiserver_was_never_told_of_is_not_promoted() {
    let announced = advance(fresh(), START + 12 * HOUR);
    let step = |now: i64, is_trusted: bool| Material::step(Some(&announced), &names(), now, |_| is_trusted).unwrap();
    assert!(step(START + 13 * HOUR, false).is_none(), "the old leaf goes on");
    assert!(step(START + 13 * HOUR, true).is_some());
}

#[test]
fn over_days_every_leaf_served_is_trusted_by_the_bundle_before_and_after_each_step() {
    let mut material = fresh();
    let mut served = std::collections::BTreeSet::new();
    for minute in 0..4 * 24 * 60 {
        let now = START + minute * 60;
        let stepped = advance(material.clone(), now);
        if stepped != material {
            // One replica has stepped and the other has not; either bundle may be the one in force.
            for bundle in [material.bundle(), stepped.bundle()] {
                assert!(trusts(&bundle, &material.current, now), "minute {minute}");
                assert!(trusts(&bundle, &stepped.current, now), "minute {minute}");
            }
        }
        served.insert(stepped.current.made_at);
        material = stepped;
    }
    assert!(served.len() >= 7, "rotated {} times", served.len());
}

#[test]
fn after_a_long_stop_or_under_another_name_it_starts_afresh() {
    let old = fresh();
    let later = advance(old.clone(), START + 100 * HOUR);
    assert_ne!(later.current, old.current);
    let renamed = Material::step(Some(&old), &["other.ns.svc".into()], START, |_| true)
        .unwrap()
        .unwrap();
    assert_eq!(renamed.current.names, ["other.ns.svc"]);
}

#[test]
fn what_is_stored_is_read_back_and_an_empty_or_broken_secret_is_none() {
    let material = advance(fresh(), START + 12 * HOUR);
    let data = material.to_secret().unwrap();
    assert_eq!(Material::from_secret(Some(&data)), Some(material));
    assert_eq!(Material::from_secret(None), None);
    let broken = [(STATE_KEY.to_owned(), ByteString(b"{".to_vec()))].into();
    assert_eq!(Material::from_secret(Some(&broken)), None);
}

#[test]
fn a_key_is_never_printed() {
    let text = format!("{:?}", fresh());
    assert!(text.contains("Key(..)") && !text.contains("PRIVATE"), "{text}");
}
