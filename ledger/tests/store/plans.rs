//! Every index is there for a query, and that query uses it.

use bowsprit_ledger::entry::Entry;
use bowsprit_ledger::query::read::{self, Cursor, Filter, IdOf};
use bowsprit_ledger::query::report::asked;
use bowsprit_ledger::query::sums::{self, First};
use bowsprit_ledger::query::{By, Window};
use bowsprit_ledger::store::{Query, Value};

use crate::engines::Engine;
use crate::entries::{NOW, arrival, attempt, group, headroom, requests};
use crate::on_every_engine;

on_every_engine! {
    each_query_uses_the_index_that_is_there_for_it,
    a_query_is_not_compiled_and_has_room_to_add_up,
}

fn query(sql: &str) -> Query {
    Query {
        name: "test",
        sql: sql.to_owned(),
        parameters: vec![Value::Int(NOW - 60_000)],
    }
}

/// The queries of the service, and for each the index that it needs.
fn all() -> Vec<(&'static str, Query)> {
    let window = Window {
        from: NOW - 86_400_000,
        to: NOW,
    };
    let filter = Filter {
        number: 50,
        ..Filter::default()
    };
    let team = || Some("team-1".to_owned());
    let scope = |namespace, provider| read::scope(namespace, provider, window);
    vec![
        (
            "place",
            read::requests(&Filter {
                before: Some(Cursor(NOW, 1, 1)),
                ..filter.clone()
            }),
        ),
        (
            "provider_requests_namespace",
            read::requests(&Filter {
                namespace: team(),
                ..filter.clone()
            }),
        ),
        (
            "provider_requests_provider",
            read::requests(&Filter {
                provider: Some("claude".into()),
                ..filter.clone()
            }),
        ),
        (
            "provider_requests_route",
            read::requests(&Filter {
                route: Some("chat".into()),
                ..filter.clone()
            }),
        ),
        (
            "provider_requests_arrived",
            read::requests(&Filter {
                after: Some(Cursor(NOW - 60_000, 1, 1)),
                ..filter.clone()
            }),
        ),
        (
            "provider_requests_failed",
            read::requests(&Filter {
                is_failed: true,
                ..filter.clone()
            }),
        ),
        (
            "provider_requests_namespace_failed",
            read::requests(&Filter {
                is_failed: true,
                namespace: team(),
                ..filter
            }),
        ),
        (
            "provider_requests_request_id",
            read::by_id(IdOf::Request, "r1", Some("team-1")),
        ),
        ("provider_requests_trace_id", read::by_id(IdOf::Trace, "r1-trace", None)),
        (
            "provider_logs_provider_request_id",
            read::by_id(IdOf::Provider, "msg_r1", None),
        ),
        ("provider_logs_request_id", read::attempts("r1", 1)),
        (
            "provider_logs_failed",
            read::failures(None, &["claude", "openai"], window),
        ),
        (
            "provider_metrics_namespace",
            sums::stats(&scope(Some("team-1"), None), By::Route, First::Busiest, 10_001),
        ),
        (
            "provider_metrics_provider",
            sums::stats(&scope(None, Some("claude")), By::Model, First::Busiest, 10_001),
        ),
        ("provider_metrics", sums::quality(&scope(None, None))),
        (
            "provider_metrics_namespace",
            asked::windows(&scope(Some("team-1"), None), By::Route, 60),
        ),
        (
            "provider_metrics_namespace",
            asked::worst(&scope(Some("team-1"), None), By::Provider),
        ),
        (
            "provider_requests_provider",
            asked::hits(&scope(Some("team-1"), None), By::Route),
        ),
        (
            "provider_requests_namespace_failed",
            asked::refusals(&scope(Some("team-1"), None)),
        ),
        (
            "provider_requests_would_refuse",
            asked::shadows(&scope(Some("team-1"), None)),
        ),
        ("provider_requests_would_refuse", asked::shadows(&scope(None, None))),
        (
            "provider_requests_namespace_failed",
            asked::unsuccessful(&scope(Some("team-1"), None)),
        ),
        (
            "provider_rate_limits_latest",
            read::rate_limits_query("team-1", Some("claude"), NOW),
        ),
        (
            "provider_configs_object",
            read::configs_query(Some("team-1"), Some(("ProviderConfig", "claude")), 10),
        ),
        ("provider_configs_at", read::configs_query(None, None, 10)),
        (
            "outboxes_last_seen",
            query("SELECT pod FROM outboxes WHERE last_seen < $1"),
        ),
        (
            "booked_batches_at",
            query("SELECT namespace FROM booked_batches WHERE at < $1"),
        ),
        (
            "provider_requests_failed",
            query("SELECT * FROM failed_requests WHERE at >= $1 ORDER BY at DESC LIMIT 100"),
        ),
        (
            "provider_metrics",
            Query {
                parameters: Vec::new(),
                ..query("SELECT * FROM success_rate_7d")
            },
        ),
    ]
}

/// Enough rows, of enough kinds, that a plan means something.
async fn fill(engine: &Engine) {
    for pod in 0..20_u64 {
        let outcomes = ["ok", "ok", "ok", "cancelled", "provider_error"];
        let mut entries = Vec::new();
        for id in pod * 100..pod * 100 + 100 {
            let outcome = outcomes[usize::try_from(id % 5).unwrap()];
            entries.extend(requests([id], outcome));
            let mut tried = attempt(&format!("r{id}"), if id % 5 == 4 { "failed" } else { "answered" });
            tried.provider = format!("p{}", id % 7);
            entries.push(Entry::Attempt(Box::new(tried)));
            entries.push(Entry::Headroom(Box::new(headroom(id))));
        }
        for entry in &mut entries {
            if let Entry::Request(request) = entry {
                (request.provider, request.route) = (format!("p{}", pod % 7), format!("route-{}", pod % 11));
            }
        }
        let mut one = arrival(&format!("app-{pod}"), 1, entries);
        one.identity.namespace = format!("team-{}", pod % 9);
        engine.store.take(group([one]), NOW).await.unwrap()[0].as_ref().unwrap();
    }
    for number in 0..200 {
        let text = |text: String| Value::Text(text);
        let row = vec![
            Value::Int(NOW + number),
            text(format!("team-{}", number % 9)),
            text("ProviderConfig".into()),
            text(format!("c{}", number % 40)),
            text("updated".into()),
            text("ann".into()),
            text(format!("{number}")),
            text(format!("uid/{number}")),
        ];
        engine.store.note_config(row).await.unwrap();
    }
    engine.execute("ANALYZE").await.unwrap();
}

async fn each_query_uses_the_index_that_is_there_for_it(engine: &Engine) {
    fill(engine).await;
    let mut used = std::collections::BTreeSet::new();
    for (index, query) in all() {
        let plan = engine.plan(&query).await;
        assert!(
            uses(engine, &plan, index),
            "{} does not use {index}:\n{}\n{plan}",
            query.name,
            query.sql
        );
        used.insert(index);
    }
    let schema = concat!(
        include_str!("../../src/schema/0002_indexes.up.sql"),
        include_str!("../../src/schema/0004_arrivals.up.sqlite.sql"),
        include_str!("../../src/schema/0005_days.up.sqlite.sql"),
        include_str!("../../src/schema/0007_would_refuse_by.up.sqlite.sql"),
        include_str!("../../src/schema/0008_booked_batches.up.sqlite.sql")
    );
    for line in schema.lines().filter_map(|line| line.strip_prefix("CREATE INDEX ")) {
        let name = line.split(' ').next().unwrap();
        assert!(
            used.contains(name),
            "{name} is there for no query: leave it out, or name its query here"
        );
    }
}

async fn a_query_is_not_compiled_and_has_room_to_add_up(engine: &Engine) {
    if !engine.is_postgres() {
        return; // It has no such settings.
    }
    let settings = "SELECT current_setting('jit'), current_setting('work_mem')";
    let told: Vec<_> = engine.ask(settings, Vec::new()).await[0]
        .iter()
        .map(Value::told)
        .collect();
    assert_eq!(told, ["off", "32MB"]);
}

fn uses(engine: &Engine, plan: &str, index: &str) -> bool {
    if !engine.is_postgres() {
        let scans = plan
            .lines()
            .any(|line| line.contains("SCAN provider_") && !line.contains("USING"));
        let named = match index {
            "place" => plan.contains("sqlite_autoindex_provider_requests"),
            "provider_metrics" => plan.contains("PRIMARY KEY"),
            index => plan.split([' ', '\n']).any(|word| word == index),
        };
        return named && !scans;
    }
    // An index of a partition has a name of its own: its table's, and its columns'.
    let columns: &[&str] = match index {
        "place" => &["provider_requests_d20717_pkey"],
        "provider_requests_namespace" => &["provider_requests_d20717_namespace_at_idx on"],
        "provider_requests_provider" => &["provider_requests_d20717_provider_at_idx"],
        "provider_requests_route" => &["provider_requests_d20717_route_at_idx"],
        "provider_requests_failed" => &["provider_requests_d20717_at_outbox_sequence_idx"],
        "provider_requests_would_refuse" => &["provider_requests_d20717_at_idx"],
        "provider_requests_namespace_failed" => &["provider_requests_d20717_namespace_at_idx1"],
        "provider_requests_request_id" => &["provider_requests_d20717_request_id_idx"],
        "provider_requests_trace_id" => &["provider_requests_d20717_trace_id_idx"],
        "provider_requests_arrived" => &["provider_requests_d20717_arrived_outbox_sequence_idx"],
        "provider_logs_request_id" => &["provider_logs_d20717_request_id_idx"],
        "provider_logs_provider_request_id" => &["provider_logs_d20717_provider_request_id_idx"],
        "provider_logs_failed" => &["provider_logs_d20717_provider_at_idx"],
        "provider_metrics" => &["provider_metrics_pkey"],
        index => return plan.contains(index),
    };
    columns.iter().all(|name| plan.contains(name))
}
