//! What is old goes in pieces, however much it is, and what cannot go keeps nothing else.

use std::time::Duration;

use bowsprit_ledger::store::Keep;

use crate::engines::Engine;
use crate::entries::NOW;
use crate::on_every_engine;

on_every_engine! {
    more_than_a_piece_of_everything_goes,
    a_piece_that_fails_keeps_no_other,
    a_row_that_somebody_holds_keeps_no_other,
    a_store_that_gives_up_on_large_pieces_is_asked_for_smaller_ones,
    a_store_that_gives_up_on_every_piece_of_a_day_says_so_and_drops_the_next,
}

const DAY: i64 = 24 * 3600;
/// Names of a day: with their hours more than a piece.
const NAMES: i64 = 1_500;

/// When the day begins that was so many days ago, seconds.
fn day(ago: i64) -> i64 {
    (NOW / 1000 - ago * DAY) / DAY * DAY
}

fn keep() -> Keep {
    let days = |days: u64| Duration::from_hours(24 * days);
    Keep {
        detail: days(7),
        minutes: days(7),
        hours: days(30),
        outboxes: days(30),
    }
}

/// Sums of a grain: as many names in each of as many steps from `start` on.
async fn sums(engine: &Engine, grain: i64, start: i64, steps: i64) {
    let number = NAMES * steps;
    let sql = format!(
        "WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {number} - 1)
        INSERT INTO provider_metrics (grain, start, names_digest, kind, namespace, workload, route, provider, model, outcome, count, folded,
            took, input, output, cached, cache_write, reasoning, estimated_input, estimated_output, tokens_unknown, cost_reported, cost_estimated,
            cost_unknown)
        SELECT {grain}, {start} + {grain} * (n / {NAMES}), 'n' || (n % {NAMES}), 'request', 'team-1', 'w', '', 'p', 'm', 'ok', 1, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM n"
    );
    engine.execute(&sql).await.unwrap();
}

/// Old sums of every grain and two old days of hours, old rate limits and outboxes; and of each, one step of what is kept.
async fn fill(engine: &Engine) {
    sums(engine, 60, day(9), 30).await;
    sums(engine, 60, day(1), 1).await;
    for (ago, hours) in [(40, 24), (39, 24), (2, 1)] {
        sums(engine, 3600, day(ago), hours).await;
        sums(engine, 86_400, day(ago), 1).await;
    }
    let (old, new) = (NOW - 9 * DAY * 1000, NOW - DAY * 1000);
    let silent = NOW - 40 * DAY * 1000;
    let more = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 45000)
        INSERT INTO provider_rate_limits (at, outbox, sequence, namespace, provider, credential, what)
        SELECT CASE WHEN n > 44900 THEN {new} ELSE {old} END, 1, n, 'team-1', 'p', 'c', 'requests' FROM n;
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 45000)
        INSERT INTO outboxes (namespace, pod, outbox, service_account, workload, sidecar_version, first_seen, last_seen)
        SELECT 'team-1', 'app', 'o' || n, 's', 'w', '1', {silent}, CASE WHEN n > 44900 THEN {new} ELSE {silent} END FROM n;
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 45000)
        INSERT INTO sampled_requests (at, outbox, sequence, namespace, workload, route, provider, model, took)
        SELECT CASE WHEN n > 44900 THEN {new} ELSE {old} END, 1, n, 'team-1', 'w', '', 'p', 'm', 1 FROM n"
    );
    engine.execute(&more).await.unwrap();
    if engine.is_postgres() {
        // Of tables that nobody has looked through its planner takes it that they are small, and compares each row with each.
        engine.execute("ANALYZE").await.unwrap();
    }
}

/// Rows of a table, where there is more to say of them.
async fn left(engine: &Engine, of: &str) -> i64 {
    engine.number(&format!("SELECT count(*) FROM {of}")).await
}

async fn only_what_is_kept_is_left(engine: &Engine) {
    for (of, wanted) in [
        ("provider_metrics WHERE grain = 60", NAMES),
        ("provider_metrics WHERE grain = 3600", NAMES),
        ("provider_metrics WHERE grain = 86400", NAMES),
        ("provider_rate_limits", 100),
        ("outboxes", 100),
        ("sampled_requests", 100),
    ] {
        assert_eq!(left(engine, of).await, wanted, "{of}");
    }
}

/// From now on the server refuses a statement that takes more than a piece at once, or hours without their day.
async fn only_pieces(engine: &Engine) {
    let check = "CREATE FUNCTION only_pieces() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF (SELECT count(*) FROM gone) > 20000 THEN RAISE EXCEPTION 'more than a piece of %', TG_TABLE_NAME; END IF;
            RETURN NULL;
        END $$;
        CREATE FUNCTION only_whole_days() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT 1 FROM gone JOIN provider_metrics AS day ON day.grain = 86400 AND day.start = gone.start / 86400 * 86400
                    AND day.names_digest = gone.names_digest WHERE gone.grain = 3600)
                OR EXISTS (SELECT 1 FROM gone CROSS JOIN generate_series(0, 23) AS n JOIN provider_metrics AS hour ON hour.grain = 3600
                    AND hour.start = gone.start + n * 3600 AND hour.names_digest = gone.names_digest WHERE gone.grain = 86400)
            THEN RAISE EXCEPTION 'half a day went'; END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER only_whole_days AFTER DELETE ON provider_metrics REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION only_whole_days()";
    engine.execute(check).await.unwrap();
    for table in [
        "provider_metrics",
        "provider_rate_limits",
        "outboxes",
        "sampled_requests",
        "provider_requests_default",
    ] {
        let trigger = format!(
            "CREATE TRIGGER only_pieces AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
                FOR EACH STATEMENT EXECUTE FUNCTION only_pieces()"
        );
        engine.execute(&trigger).await.unwrap();
    }
}

async fn more_than_a_piece_of_everything_goes(engine: &Engine) {
    fill(engine).await;
    // An hour whose day is not there goes as well.
    engine
        .execute(&format!(
            "DELETE FROM provider_metrics WHERE grain = 86400 AND start = {} AND names_digest = 'n7'",
            day(40)
        ))
        .await
        .unwrap();
    let mut wanted = 30 * NAMES + 2 * 25 * NAMES - 1 + 3 * 44_900;
    if engine.is_postgres() {
        // A day without a partition.
        let requests = format!(
            "INSERT INTO provider_requests (at, outbox, sequence, namespace, workload, request_id, trace_id, route, dialect, operation, asked_model,
                provider, model, is_stream, attempts, hedges, sdk_retries, fields_left_out, tools_left_out, outcome, code, status, took, overhead, answer_bytes,
                input, output, cached, cache_write, reasoning, estimated_input, estimated_output, path, turns_left_out)
            SELECT {}, 1, n, 'team-1', 'w', 'r', '', '', 'openai', 'chat', '', 'p', 'm', 0, 1, 0, 0, 0, 0, 'ok', '', 200, 1, 1, 1,
                0, 0, 0, 0, 0, 0, 0, '', 0 FROM generate_series(1, 45000) AS n",
            day(9) * 1000
        );
        engine.execute(&requests).await.unwrap();
        assert_eq!(left(engine, "provider_requests_default").await, 45_000);
        wanted += 45_000;
        only_pieces(engine).await;
    }
    let gone = engine.store.retain(keep(), NOW).await.all().unwrap();
    assert_eq!(i64::try_from(gone).unwrap(), wanted);
    only_what_is_kept_is_left(engine).await;
    assert_eq!(left(engine, "provider_requests").await, 0);
    assert_eq!(engine.store.retain(keep(), NOW).await.all().unwrap(), 0);
}

async fn a_piece_that_fails_keeps_no_other(engine: &Engine) {
    fill(engine).await;
    let held = format!(
        "OLD.grain = 3600 AND OLD.start = {} AND OLD.names_digest = 'n7'",
        day(40) + 3600
    );
    let (refuses, no_more) = if engine.is_postgres() {
        (
            format!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
                CREATE TRIGGER refuses BEFORE DELETE ON provider_metrics FOR EACH ROW WHEN ({held}) EXECUTE FUNCTION refuse()"
            ),
            "DROP TRIGGER refuses ON provider_metrics",
        )
    } else {
        (
            format!(
                "CREATE TRIGGER refuses BEFORE DELETE ON provider_metrics WHEN {held}
                BEGIN SELECT RAISE(ABORT, 'not this one'); END"
            ),
            "DROP TRIGGER refuses",
        )
    };
    engine.execute(&refuses).await.unwrap();
    let retired = engine.store.retain(keep(), NOW).await;
    let error = retired.failed.unwrap().to_string();
    assert!(error.contains("not this one"), "{error}");
    assert!(retired.rows > 0);
    // Of the day, hours are left with their sum; the next day is gone, and so is all that comes after.
    let of_the_day = |grain: i64| {
        format!(
            "provider_metrics WHERE grain = {grain} AND start / 86400 = {}",
            day(40) / DAY
        )
    };
    let (hours, days) = (
        left(engine, &of_the_day(3600)).await,
        left(engine, &of_the_day(86_400)).await,
    );
    assert!(days > 0 && hours == 24 * days, "{hours} hours of {days}");
    let next = format!(
        "provider_metrics WHERE grain <> 60 AND start / 86400 = {}",
        day(39) / DAY
    );
    assert_eq!(left(engine, &next).await, 0);
    assert_eq!(left(engine, "outboxes").await, 100);

    engine.execute(no_more).await.unwrap();
    engine.store.retain(keep(), NOW).await.all().unwrap();
    only_what_is_kept_is_left(engine).await;
}

async fn a_row_that_somebody_holds_keeps_no_other(engine: &Engine) {
    if !engine.is_postgres() {
        return; // There, who writes holds the file.
    }
    // Partitions of a day that is old by then, and a reader of one of them, as a backup is.
    engine.store.retain(keep(), NOW).await.all().unwrap();
    let of_today = format!("provider_requests_d{}", NOW / 1000 / DAY);
    let reader = engine.reading(&of_today).await;
    let later = NOW + 20 * DAY * 1000;
    sums(engine, 60, day(1), 30).await;
    let writer = engine
        .holding(&format!(
            "SELECT 1 FROM provider_metrics WHERE start = {} FOR UPDATE",
            day(1)
        ))
        .await;
    sums(engine, 60, day(-5), 30).await;
    let retired = engine.store.retain(keep(), later).await;
    let error = retired.failed.unwrap().to_string();
    assert!(error.contains("lock timeout"), "{error}");
    let there = |table: &str| format!("pg_class WHERE relname = '{table}'");
    assert_eq!(left(engine, &there(&of_today)).await, 1);
    assert_eq!(left(engine, &there(&of_today.replace("requests", "logs"))).await, 0);
    // The day that is held stays, and the one after it goes.
    assert_eq!(left(engine, "provider_metrics").await, 30 * NAMES);
    drop((reader, writer));
    engine.store.retain(keep(), later).await.all().unwrap();
    assert_eq!(left(engine, "provider_metrics").await, 0);
    assert_eq!(left(engine, &there(&of_today)).await, 0);
}

/// From now on the server gives up on pieces of a table with more rows than so many, as on a statement that takes too long, where `when`.
async fn gives_up(engine: &Engine, table: &str, rows: u64, when: &str) {
    let sql = format!(
        "CREATE FUNCTION gives_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF (SELECT count(*) FROM gone WHERE {when}) > {rows} THEN
                RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = 'query_canceled';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER gives_up AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION gives_up()"
    );
    engine.execute(&sql).await.unwrap();
}

async fn a_store_that_gives_up_on_large_pieces_is_asked_for_smaller_ones(engine: &Engine) {
    if !engine.is_postgres() {
        return; // It never gives up.
    }
    fill(engine).await;
    gives_up(engine, "provider_metrics", 2_600, "true").await;
    let retired = engine.store.retain(keep(), NOW).await;
    assert!(retired.failed.is_none(), "{:?}", retired.failed);
    assert!(
        retired.smallest.is_some_and(|rows| rows < 2_600),
        "{:?}",
        retired.smallest
    );
    only_what_is_kept_is_left(engine).await;
}

async fn a_store_that_gives_up_on_every_piece_of_a_day_says_so_and_drops_the_next(engine: &Engine) {
    if !engine.is_postgres() {
        return; // It never gives up.
    }
    fill(engine).await;
    gives_up(
        engine,
        "provider_metrics",
        0,
        &format!("grain <> 60 AND start / 86400 = {}", day(40) / DAY),
    )
    .await;
    let retired = engine.store.retain(keep(), NOW).await;
    let error = retired.failed.unwrap().to_string();
    assert!(error.contains("takes too long"), "{error}");
    assert_eq!(
        left(
            engine,
            &format!("provider_metrics WHERE grain <> 60 AND start < {}", day(39))
        )
        .await,
        25 * NAMES
    );
    assert_eq!(
        left(
            engine,
            &format!("provider_metrics WHERE grain <> 60 AND start < {}", day(38))
        )
        .await,
        25 * NAMES
    );
    assert_eq!(left(engine, "outboxes").await, 100);
}
