//! PostgreSQL over TLS: the server's certificate is checked in full, and what is wrong with it is said with what to do about it.

use std::path::PathBuf;

use bowsprit_ledger::schema::LATEST;
use bowsprit_ledger::store::postgres::{Postgres, Target};
use bowsprit_ledger::store::{Error, Query, Store as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::server::Server;

/// A CA of its own: its certificate, and a server's of it for this name, with its key.
fn issue(name: &str) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("CA of {name}"));
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (ca, certificate.pem(), key.serialize_pem())
}

struct World {
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    fn ca(&self, pem: &str) -> PathBuf {
        let file = self.folder.path().join("ca.crt");
        std::fs::write(&file, pem).unwrap();
        file
    }

    fn url(&self, host: &str, mode: &str) -> String {
        format!("postgres://postgres@{host}:{}/postgres{mode}", self.server.port)
    }

    /// What a first use of the store comes to.
    async fn used(&self, host: &str, mode: &str, ca: &str) -> Result<bool, Error> {
        let target = Target::new(&self.url(host, mode), Some(&self.ca(ca))).unwrap();
        let store = Postgres::new(target);
        store.migrate(LATEST, 0).await?;
        let encrypted = Query {
            name: "test",
            sql: "SELECT CAST(count(*) AS BIGINT) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl".into(),
            parameters: Vec::new(),
        };
        Ok(store.query(encrypted).await?[0][0].int() == 1)
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_its_ca_and_its_name_and_by_nothing_less() {
    let (ca, certificate, key) = issue("localhost");
    let (another, ..) = issue("localhost");
    let world = World {
        server: tokio::task::spawn_blocking(move || Server::postgres_with_tls(&certificate, &key))
            .await
            .unwrap(),
        folder: tempfile::tempdir().unwrap(),
    };
    for mode in ["?sslmode=verify-full", "?sslmode=verify-ca", "?sslmode=require", ""] {
        assert!(
            world.used("localhost", mode, &ca).await.unwrap(),
            "{mode}: not encrypted"
        );
    }
    for (host, ca, remedy) in [
        ("127.0.0.1", &ca, "other names than the host of the connection string"),
        ("localhost", &another, "ledger.postgres.caKey"),
    ] {
        let refused = world.used(host, "?sslmode=verify-full", ca).await.unwrap_err();
        assert!(refused.may_pass(), "a renewed certificate mends it");
        let said = refused.to_string();
        println!("{host}: {said}");
        assert!(said.contains(remedy), "{said}");
    }
    // Without a CA nothing is trusted, and nothing is sent in clear.
    let none = Target::new(&world.url("localhost", "?sslmode=verify-full"), None)
        .err()
        .unwrap();
    assert!(none.to_string().contains("needs one"), "{none}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_nothing_where_tls_is_wanted() {
    let (ca, ..) = issue("localhost");
    let world = World {
        server: tokio::task::spawn_blocking(Server::postgres).await.unwrap(),
        folder: tempfile::tempdir().unwrap(),
    };
    for mode in ["?sslmode=verify-full", ""] {
        let refused = world.used("localhost", mode, &ca).await.unwrap_err().to_string();
        assert!(refused.contains("it speaks no TLS"), "{mode}: {refused}");
    }
}
