//! One target of `core/tests/fuzz` under libFuzzer: the one that `FUZZ_TARGET` names.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../.."]
mod fuzz {
    #[allow(dead_code)] // what only `cargo test` asks for
    pub(crate) mod targets;
}

use fuzz::targets::{answers, config, errors, guards, headers, names, other, requests, sse, streams};

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn target() -> fn(&[u8]) {
    match std::env::var("FUZZ_TARGET").unwrap_or_default().as_str() {
        "sse" => sse::pieces,
        "requests" => requests::translate,
        "answers" => answers::translate,
        "streams" => streams::pieces,
        "errors" => errors::read_and_say,
        "guards" => guards::stream,
        "headers" => headers::waits,
        "config" => config::load,
        "embeddings" => other::embeddings,
        "counts" => other::counts,
        "names" => names::read,
        other => panic!("FUZZ_TARGET={other}: there is no such target"),
    }
}

fuzz_target!(|input: &[u8]| TARGET.get_or_init(target)(input));
