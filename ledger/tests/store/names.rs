//! Whatever a name is, it is stored as it was told, and never becomes part of a query.

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::query::read::{self, Filter};
use bowsprit_ledger::query::{By, Window};
use bowsprit_ledger::store::text::{MAX_NAME, clipped};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, group, request};
use crate::on_every_engine;

on_every_engine! { hostile_names_are_stored_exactly_or_clipped }

async fn hostile_names_are_stored_exactly_or_clipped(engine: &Engine) {
    let long = "模".repeat(64 << 10);
    let names = [
        "nul\0inside\0",
        "\0",
        "back\\slash\\0",
        "'; DROP TABLE outboxes; --",
        "\"quoted\"",
        "$1",
        "%s\n\r\t",
        "模型 ✨ \u{202e}",
        "",
        long.as_str(),
    ];
    let mut entries = Vec::new();
    for name in names {
        let mut hostile = request(name, "ok");
        for field in [
            &mut hostile.route,
            &mut hostile.asked_model,
            &mut hostile.provider,
            &mut hostile.model,
            &mut hostile.operation,
        ] {
            name.clone_into(field);
        }
        name.clone_into(&mut hostile.path[0].because);
        name.clone_into(&mut hostile.code);
        let mut tried = attempt(name, "failed");
        for field in [
            &mut tried.provider,
            &mut tried.model,
            &mut tried.credential,
            &mut tried.provider_request_id,
            &mut tried.code,
        ] {
            name.clone_into(field);
        }
        entries.extend([Entry::Attempt(Box::new(tried)), Entry::Request(Box::new(hostile))]);
    }
    let mut hostile = arrival("app-1", 1, entries);
    hostile.batch.workload = long.clone();
    hostile.batch.sidecar_version = "\0".into();
    engine.store.take(group([hostile]), NOW).await.unwrap()[0]
        .as_ref()
        .unwrap();

    for name in names {
        let found = read::why(&*engine.store, name, Some("team")).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .filter(|why| why.listed.request.id == clipped(name))
            .collect();
        assert_eq!(found.len(), 1, "{name:?}");
        let (listed, tried) = (&found[0].listed.request, &found[0].attempts_made[0].attempt);
        for told in [
            &listed.route,
            &listed.asked_model,
            &listed.provider,
            &listed.path[0].because,
            &listed.code,
            &tried.model,
            &tried.code,
        ] {
            assert_eq!(*told, clipped(name));
        }
        assert!(listed.model.len() <= MAX_NAME);
        let filter = Filter {
            provider: Some(clipped(name).into_owned()),
            number: 10,
            ..Filter::default()
        };
        assert_eq!(read::list(&*engine.store, &filter).await.unwrap().len(), 1, "{name:?}");
    }
    let window = Window {
        from: NOW - 3_600_000,
        to: NOW + 1,
    };
    let stats = read::stats(&*engine.store, &read::scope(Some("team"), None, window), By::Model)
        .await
        .unwrap();
    assert_eq!(stats.len(), names.len());
    assert_eq!(engine.number("SELECT count(*) FROM outboxes").await, 1);
}
