//! Fuzz targets: whatever a caller, a provider or a person with a YAML file sends, a promise holds and nothing panics.
//!
//! Each target is a function of bytes that panics where a promise is broken. In `cargo test` it gets every file of its
//! folder in `tests/corpus` and a fixed number of mutations of them from a fixed seed, so that the same commit always tests
//! the same:
//!
//! - `FUZZ_SECONDS=60` (`make fuzz-smoke` sets 5): how long, instead of the fixed number;
//! - `FUZZ_SEED=7`: the seed, instead of the fixed one or, with `FUZZ_SECONDS`, one taken from the clock.
//!
//! `make fuzz` gives the same targets to libFuzzer (`guided/`), which keeps what reaches new code.
//!
//! A failure prints the seed, shrinks the input, and leaves it in a file. Put that file into the corpus with the fix: there it
//! tells the bug for ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods, // a test reads its corpus from files and its settings from the environment
    clippy::disallowed_types,
    missing_docs
)]

mod drive;
mod mutate;
mod targets;

use drive::fuzz;
use mutate::Form;
use targets::{answers, config, errors, guards, headers, names, other, requests, sse, streams};

#[test]
fn events_are_the_same_in_any_pieces() {
    fuzz("sse", Form::Events, 4_000, sse::pieces);
}

#[test]
fn any_request_is_translated_or_refused_with_its_reason() {
    fuzz("requests", Form::Json, 1_500, requests::translate);
}

#[test]
fn any_answer_is_translated_or_called_malformed() {
    fuzz("answers", Form::Json, 2_000, answers::translate);
}

#[test]
fn embeddings_and_counts_are_translated_or_refused_with_their_reason() {
    fuzz("embeddings", Form::Json, 1_500, other::embeddings);
    fuzz("counts", Form::Json, 1_500, other::counts);
}

#[test]
fn any_stream_ends_whole_or_with_an_error_in_any_pieces() {
    fuzz("streams", Form::Events, 400, streams::pieces);
}

#[test]
fn a_stream_cut_before_its_finish_reason_is_never_whole() {
    for seed in drive::corpus("streams") {
        streams::cut_everywhere(&seed.name, &seed.bytes);
    }
}

#[test]
fn any_error_body_is_read_and_said_again() {
    fuzz("errors", Form::Json, 1_000, errors::read_and_say);
}

#[test]
fn a_key_is_blotted_out_behind_whatever_it_stands() {
    errors::a_key_behind_anything();
}

#[test]
fn any_headers_tell_a_wait_within_its_bound() {
    fuzz("headers", Form::Text, 4_000, headers::waits);
}

#[test]
fn guards_mask_a_stream_in_any_pieces_as_they_mask_the_whole() {
    fuzz("guards", Form::Events, 120, guards::stream);
}

#[test]
fn any_config_loads_or_names_every_problem_with_its_path() {
    fuzz("config", Form::Yaml, 700, config::load);
}

#[test]
fn base_urls_globs_and_paths_mean_one_thing() {
    fuzz("names", Form::Text, 6_000, names::read);
}
