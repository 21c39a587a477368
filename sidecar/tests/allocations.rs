//! What is recorded of a request allocates nothing, but that buffers grow at first.

#![allow(clippy::expect_used, reason = "a test")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use allocation_counter::measure;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::record::AttemptKind;
use bowsprit_ledger::outbox::{Outbox, Settings};
use bowsprit_sidecar::families::Families;
use bowsprit_sidecar::observe::AccessLog;
use bowsprit_sidecar::observe::ledger::About;
use bowsprit_sidecar::observe::traffic::Handles;
use tracing::Level;

mod records;

/// How long a commit may take on a machine that does other things.
const SOON: Duration = Duration::from_secs(30);

/// Sinks, and the handles of the one provider.
fn sinks(access: AccessLog) -> (Families, Handles) {
    let config = records::config();
    let families = Families::new(access);
    families.sinks.fit(&config);
    let handles = families
        .sinks
        .traffic
        .handles(config.providers.first().expect("one"), &families.sinks.genai);
    (families, handles)
}

/// All that is told of one request.
fn record(families: &Families, handles: &Handles, is_traced: bool) {
    let span = is_traced.then(records::span);
    let traffic = &families.sinks.traffic;
    traffic.begun(Dialect::OpenAiChat);
    traffic.taken(1_024);
    handles.first_chunk(Duration::from_millis(200));
    handles.chunk(Duration::from_millis(10));
    traffic.first_token(Duration::from_millis(201), span);
    for kind in [AttemptKind::First, AttemptKind::Retry] {
        let attempt = bowsprit_core::record::AttemptRecord {
            kind,
            ..records::attempt(span)
        };
        families.sinks.attempt(handles, &attempt, 350);
    }
    families.sinks.request(&records::request(span));
}

#[test]
fn metrics_of_a_request_allocate_nothing_with_exemplars_and_without() {
    let (families, handles) = sinks(AccessLog::new(false, Level::INFO));
    for is_traced in [false, true] {
        record(&families, &handles, is_traced); // what is made at its first use
        let counted = measure(|| (0..1_000).for_each(|_| record(&families, &handles, is_traced)));
        assert_eq!(counted.count_total, 0, "traced: {is_traced}");
    }
}

#[test]
fn a_line_and_spans_of_a_request_are_written_into_buffers_that_only_grow() {
    let (families, handles) = sinks(AccessLog::in_memory());
    families.sinks.spans.keep(records::collector());
    record(&families, &handles, true);
    let counted = measure(|| (0..1_000).for_each(|_| record(&families, &handles, true)));
    // Two buffers, of some megabytes, that grow by doubling.
    assert!(counted.count_total <= 40, "{}", counted.count_total);
}

#[test]
fn handing_records_to_the_ledger_allocates_nothing() {
    let (families, handles) = sinks(AccessLog::new(false, Level::INFO));
    let outbox = Arc::new(Outbox::start(Settings {
        folder: None,
        limit: 2 << 20,
        clock: || 1_764_000_000_000,
    }));
    families.sinks.ledger.keep(Arc::clone(&outbox), About::default());
    let hand_over = || (0..20).for_each(|_| record(&families, &handles, false));
    let commit = || {
        let (done, told) = mpsc::channel();
        outbox.flush(move |is_well| _ = done.send(is_well));
        assert!(told.recv_timeout(SOON).expect("it commits"));
    };
    // The two buffers that requests and the thread change are as large as they need be after one turn each.
    for _ in 0..3 {
        hand_over();
        commit();
    }
    let counted = measure(hand_over);
    assert_eq!(counted.count_total, 0);
}
