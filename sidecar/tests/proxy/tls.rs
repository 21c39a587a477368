//! TLS to providers, and what it says when it fails.

use bowsprit_providers::{Api, Options, Provider, TlsPem};
use bowsprit_rig::SOON;
use bowsprit_rig::inside::Sidecar;
use bowsprit_rig::operator::ScriptedOperator;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::support::Bed;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        pem,
        issuer: Issuer::new(params, key),
    }
}

impl Authority {
    fn provider(&self, host: &str) -> Provider {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let tls = TlsPem {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        };
        Provider::start(Options {
            tls: Some(tls),
            ..Options::api(Api::OpenAi)
        })
        .unwrap()
    }
}

/// A bed whose OpenAI provider is this one, with this CA bundle, and no other provider.
fn bed(provider: &Provider, bundle: &str) -> Bed {
    let mut bed = Bed::providers();
    let dir = bed.dir.path().join("ca/corp-ca");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("ca.crt"), bundle).unwrap();
    let url = format!("{}/v1", provider.url());
    bed.write_config(&|name: &str, spec: &mut Value| {
        if name == "openai" {
            spec["endpoint"] = json!({"baseUrl": url, "caBundleRef": {"name": "corp-ca", "key": "ca.crt"}});
        } else {
            *spec = Value::Null;
        }
    });
    let ca = bed.dir.path().join("ca").display().to_string();
    bed.start(&["--ca-dir", &ca]);
    bed
}

#[tokio::test]
async fn a_providers_own_ca_is_trusted_and_connections_are_kept() {
    let authority = authority();
    let provider = authority.provider("127.0.0.1");
    let bed = bed(&provider, &authority.pem);
    for stream in [false, true, false] {
        let reply = bed.chat_with("gpt-4.1-mini", stream).await;
        assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    }
    assert_eq!(provider.seen().connections, 1);
}

#[tokio::test]
async fn an_unknown_ca_and_a_wrong_host_are_refused_and_named() {
    let authority = authority();
    for (host, bundle) in [
        ("127.0.0.1", self::authority().pem),
        ("other.example", authority.pem.clone()),
    ] {
        let provider = authority.provider(host);
        let bed = bed(&provider, &bundle);
        let reply = bed.chat_with("gpt-4.1-mini", false).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
            (502, Some("EXT_TLS")),
            "{}",
            reply.text
        );
        assert!(
            provider.requests().is_empty(),
            "nothing is sent to a host that cannot prove itself"
        );
        bed.balanced().await;
    }
}

#[tokio::test]
async fn a_missing_bundle_is_told_and_the_rest_works() {
    let authority = authority();
    let provider = authority.provider("127.0.0.1");
    let bed = bed(&provider, "no certificate");
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!(reply.json()["error"]["bowsprit_code"], "EXT_TLS", "{}", reply.text);
    let health = bed.provider_health("openai").await;
    assert!(health["problem"].as_str().unwrap().contains("CA bundle"), "{health}");
}

#[tokio::test]
async fn a_bundle_that_comes_late_is_used_without_a_change_of_the_configuration() {
    let authority = authority();
    let provider = authority.provider("127.0.0.1");
    let bed = bed(&provider, "no certificate");
    assert_eq!(
        bed.chat_with("gpt-4.1-mini", false).await.json()["error"]["bowsprit_code"],
        "EXT_TLS"
    );
    std::fs::write(bed.dir.path().join("ca/corp-ca/ca.crt"), &authority.pem).unwrap();
    bed.until("the bundle is trusted", || async {
        bed.provider_health("openai").await["problem"].is_null()
    })
    .await;
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    bed.balanced().await;
}

#[tokio::test]
async fn a_bundle_that_changes_while_configurations_are_refused_is_used_all_the_same() {
    let authority = authority();
    let provider = authority.provider("127.0.0.1");
    let (mut bed, operator) = (Bed::providers(), ScriptedOperator::start().await);
    let dir = |path: &str| {
        let dir = bed.dir.path().join(path);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    };
    let (bundle, secret) = (dir("ca/corp-ca").join("ca.crt"), dir("secrets/keys").join("openai"));
    std::fs::write(&bundle, "no certificate").unwrap();
    std::fs::write(secret, "key-of-openai").unwrap();
    let url = format!("{}/v1", provider.url());
    let good = bed.documents(&|name: &str, spec: &mut Value| {
        if name == "openai" {
            spec["endpoint"] = json!({"baseUrl": url, "allowedAddresses": ["Loopback"], "caBundleRef": {"name": "corp-ca", "key": "ca.crt"}});
            spec["credentials"] = json!([{"name": "main", "secretKeyRef": {"name": "keys", "key": "openai"}}]);
        } else {
            *spec = Value::Null;
        }
    });
    operator.mount(&good, 5);
    let mut args = operator.args();
    for (flag, folder) in [("--ca-dir", "ca"), ("--secrets-dir", "secrets")] {
        args.extend([flag.to_owned(), dir(folder).display().to_string()]);
    }
    bed.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut held = operator.accept().await;
    held.report(|report| report.sequence == 5).await;

    std::fs::write(&bundle, &authority.pem).unwrap();
    let begun = std::time::Instant::now();
    for sequence in 6.. {
        // More often than the sidecar looks for itself.
        held.config(&format!("{good}---\nkind: Nobody{sequence}\n"), sequence)
            .await;
        if bed.provider_health("openai").await["problem"].is_null() {
            break;
        }
        assert!(begun.elapsed() < SOON, "the bundle is never trusted");
    }
    assert!(bed.family("bowsprit_config_rejected_total").await > 0.0);
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    bed.balanced().await;
}

#[tokio::test]
async fn a_bundle_that_goes_is_told_and_what_it_held_last_is_trusted_until_it_is_back() {
    let (authority, another) = (authority(), authority());
    let provider = authority.provider("127.0.0.1");
    let bed = bed(&provider, &authority.pem);
    let file = bed.dir.path().join("ca/corp-ca/ca.crt");
    std::fs::remove_file(&file).unwrap();
    bed.until("its loss is told", || async {
        let health = bed.provider_health("openai").await;
        health["problem"]
            .as_str()
            .is_some_and(|problem| problem.starts_with("CA bundle as it was last: "))
    })
    .await;
    // The first request: it takes a handshake, which takes the bundle.
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    for unusable in ["", "no certificate"] {
        std::fs::write(&file, unusable).unwrap();
        bed.until("what is there instead is told", || async {
            let health = bed.provider_health("openai").await;
            let problem = health["problem"].as_str().unwrap_or_default();
            problem.starts_with("CA bundle as it was last: ") && !problem.contains("No such file")
        })
        .await;
        let reply = bed.chat_with("gpt-4.1-mini", false).await;
        assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    }
    // Other authorities are no more trusted than before.
    std::fs::write(&file, another.pem).unwrap();
    bed.until("another bundle is taken", || async {
        bed.provider_health("openai").await["problem"].is_null()
    })
    .await;
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!(reply.json()["error"]["bowsprit_code"], "EXT_TLS", "{}", reply.text);
    // Told apart from the one before it by what lies between, so that one request is enough.
    std::fs::remove_file(&file).unwrap();
    bed.until("its loss is told again", || async {
        !bed.provider_health("openai").await["problem"].is_null()
    })
    .await;
    std::fs::write(&file, &authority.pem).unwrap();
    bed.until("it is trusted again", || async {
        bed.provider_health("openai").await["problem"].is_null()
    })
    .await;
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!((reply.status, reply.provider()), (200, "openai"), "{}", reply.text);
    bed.balanced().await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_has_a_code_of_its_own() {
    let bed = Bed::with(|name, spec| {
        if name == "openai" {
            spec["endpoint"] = json!({"baseUrl": "http://nobody.invalid/v1", "allowHttp": true});
        } else {
            *spec = Value::Null;
        }
    })
    .await;
    let reply = bed.chat_with("gpt-4.1-mini", false).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["bowsprit_code"].as_str()),
        (502, Some("EXT_DNS")),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn a_metadata_address_is_never_asked() {
    let mut bed = Bed::new().await;
    bed.sidecar.take().unwrap().stop().await;
    // An address is refused with the configuration; what a name resolves to, at each connection.
    bed.write_config(&|name, spec| {
        if name == "openai" {
            spec["endpoint"]["baseUrl"] = json!("http://169.254.169.254/v1");
            spec["endpoint"]["allowedAddresses"] = json!(["Public", "LinkLocal"]);
        }
    });
    let config = bed.config_path();
    let refused = Sidecar::start(&["--config", config.to_str().unwrap()]).err().unwrap();
    assert!(refused.contains("metadata service"), "{refused}");
}
