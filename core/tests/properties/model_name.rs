//! Any model name reaches a provider as it was written, and any base URL makes paths with the version in them once.

use std::collections::BTreeMap;

use bowsprit_core::config::{BaseUrl, Config, Provider, Scope, load};
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::dialect::{Dialect, Target, peek, rename_model, translate_request};
use bowsprit_core::model_name::bare;
use bowsprit_core::plan::{self, Availability, View};
use bowsprit_core::platform::{self, Endpoint, Framing};
use bowsprit_crds::ProviderKind;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::seeded::holds;

struct AllWell;

impl View for AllWell {
    fn availability(&self, _: &Provider, _: &str) -> Availability {
        Availability::Available
    }

    fn score(&self, _: &Provider) -> f64 {
        1.0
    }
}

/// A provider of each kind, and how deep below its base URL the model stands in a path.
const KINDS: [(&str, Dialect); 3] = [
    ("OpenAICompatible", Dialect::OpenAiChat),
    ("Anthropic", Dialect::AnthropicMessages),
    ("Gemini", Dialect::Gemini),
];

fn gemini(operation: Endpoint, model: &str) -> String {
    platform::of(ProviderKind::Gemini)
        .path(operation, Dialect::Gemini, model)
        .unwrap()
}

fn config(kind: &str, spec: &Value, routes: &Value) -> Config {
    let mut whole = json!({"provider": kind, "endpoint": {"baseUrl": "https://host/v1"}, "credentials": [{"name": "k", "file": "/k"}]});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut text = json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": "p"}, "spec": whole}).to_string();
    if !routes.is_null() {
        let route = json!({"apiVersion": "bowsprit.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"name": "r"}, "spec": routes});
        text = format!("{text}\n---\n{route}");
    }
    load(&text, &Scope::Standalone).unwrap()
}

/// The model that the provider is asked for.
fn chosen(config: &Config, dialect: Dialect, asked: &str) -> Option<String> {
    let plan = plan::plan(config, dialect, &asked.into(), &AllWell, &mut || 0.0);
    plan.candidates.first().map(|candidate| candidate.model.to_string())
}

/// What people write: pieces of real names, what separates them, and anything else.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("llama3".to_owned()),
        Just("ft".to_owned()),
        Just("gpt-4o".to_owned()),
        Just("%2F".to_owned()),
        Just("%3A".to_owned()),
        Just("generateContent".to_owned()),
        Just("..".to_owned()),
        Just("models".to_owned()),
        "[a-zA-Z0-9._~@+ \"\\\\?#&=-]{1,8}",
        "\\PC{1,4}",
    ];
    let separator = prop_oneof![Just("/"), Just(":"), Just("::"), Just("."), Just("@"), Just("-")];
    let pieces = proptest::collection::vec((piece, separator), 1..5);
    let front = prop_oneof![4 => Just(""), 1 => Just("models/"), 1 => Just("tunedModels/")];
    (front, pieces).prop_map(|(front, pieces)| {
        let mut name = front.to_owned();
        for (index, (piece, separator)) in pieces.iter().enumerate() {
            if index > 0 {
                name.push_str(separator);
            }
            name.push_str(piece);
        }
        name
    })
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (hex, tail) = tail.split_at(2);
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap());
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// A Gemini path: one segment of the right collection, and nothing of the name outside it.
fn in_path(path: &str, name: &str, method: &str) -> Result<(), TestCaseError> {
    let (collection, own) = match bare(name).strip_prefix("tunedModels/") {
        Some(own) => ("tunedModels", own),
        None => ("models", bare(name)),
    };
    let segment = path.strip_prefix(&format!("/v1beta/{collection}/"));
    let segment = segment.and_then(|rest| rest.strip_suffix(&format!(":{method}")));
    prop_assert!(segment.is_some(), "{path}");
    let segment = segment.unwrap();
    prop_assert!(!segment.contains(['/', ':', '?', '#', ' ']), "{path}");
    prop_assert_eq!(unescape(segment), own);
    prop_assert!(path.parse::<http::Uri>().is_ok_and(|uri| uri.path() == path), "{path}");
    Ok(())
}

fn body_of(dialect: Dialect, model: &str) -> Value {
    match dialect {
        Dialect::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        Dialect::OpenAiResponses => json!({"model": model, "input": "hi"}),
        _ => json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    }
}

#[test]
fn any_model_name_reaches_a_provider_as_it_was_written() {
    holds("a model's name", name(), |name| {
        for (kind, wire) in KINDS {
            let own = if wire == Dialect::Gemini {
                bare(&name)
            } else {
                name.as_str()
            };
            for (what, config) in [
                (
                    "listed",
                    config(kind, &json!({"models": [{"name": name}]}), &Value::Null),
                ),
                ("unlisted", config(kind, &json!({}), &Value::Null)),
                (
                    "routed",
                    config(
                        kind,
                        &json!({}),
                        &json!({"match": {"models": [name]}, "targets": [{"provider": "p", "model": name}]}),
                    ),
                ),
            ] {
                let model = chosen(&config, wire, &name);
                let model = model.ok_or_else(|| TestCaseError::fail(format!("{kind}, {what}: nobody is asked")))?;
                prop_assert!(
                    model == name || model == own,
                    "{} of {}: {} for {}",
                    kind,
                    what,
                    model,
                    name
                );
                for caller in Dialect::ALL {
                    let body = Bytes::from(body_of(caller, &name).to_string());
                    if caller != Dialect::Gemini {
                        prop_assert_eq!(&*peek(caller, &body).unwrap().model, name.as_str());
                    }
                    let target = Target {
                        model: &model,
                        default_max_tokens: 9,
                        safety: &[],
                        stream: false,
                        on_unsupported: None,
                        allowed_tools: true,
                    };
                    let sent = if caller == wire {
                        rename_model(caller, &body, &model)
                    } else {
                        translate_request(caller, wire, &body, &target).unwrap().body
                    };
                    let sent: Value = serde_json::from_slice(&sent).unwrap();
                    if wire != Dialect::Gemini {
                        prop_assert_eq!(sent["model"].as_str(), Some(model.as_str()));
                    }
                }
                if wire == Dialect::Gemini {
                    in_path(
                        &gemini(Endpoint::Generate(Framing::Whole), &model),
                        &name,
                        "generateContent",
                    )?;
                    in_path(&gemini(Endpoint::Count, &model), &name, "countTokens")?;
                    in_path(
                        &gemini(Endpoint::Embed(EmbeddingsApi::Batch), &model),
                        &name,
                        "batchEmbedContents",
                    )?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn the_collection_in_front_of_a_name_makes_no_difference() {
    let inputs = (name(), any::<bool>(), any::<bool>());
    holds("models/ in front", inputs, |(name, configured, asked)| {
        let write = |with: bool| {
            if with {
                format!("models/{}", bare(&name))
            } else {
                bare(&name).to_owned()
            }
        };
        let config = config(
            "Gemini",
            &json!({"models": [{"name": write(configured)}], "defaultModel": write(asked)}),
            &Value::Null,
        );
        prop_assert_eq!(
            chosen(&config, Dialect::OpenAiChat, &write(asked)),
            Some(write(configured))
        );
        in_path(
            &gemini(Endpoint::Generate(Framing::Whole), &write(configured)),
            &name,
            "generateContent",
        )
    });
}

/// The forms of a base URL: what comes before the version, the version, slashes at the end, and perhaps an operation.
fn base() -> impl Strategy<Value = (String, String, String, String)> {
    let prefix = prop_oneof![Just(""), Just("/team"), Just("/openai/proxy"), Just("/a.b/c_d")];
    let version = prop_oneof![Just(""), Just("/v1"), Just("/v1beta"), Just("/v1alpha")];
    let slashes = "/{0,3}";
    let operation = prop_oneof![
        4 => Just(""),
        1 => Just("/chat/completions"),
        1 => Just("/responses"),
        1 => Just("/embeddings"),
        1 => Just("/messages"),
        1 => Just("/messages/count_tokens"),
        1 => Just("/models/gemini-2.5-flash:generateContent"),
    ];
    (prefix, version, slashes, operation)
        .prop_map(|(prefix, version, slashes, operation)| (prefix.into(), version.into(), slashes, operation.into()))
}

#[test]
fn any_base_url_makes_paths_with_one_version_or_is_refused_with_the_right_one() {
    holds("a base URL", base(), |(prefix, version, slashes, operation)| {
        for (kind, wire) in KINDS {
            let text = format!("https://host{prefix}{version}{operation}{slashes}");
            let spec =
                json!({"provider": kind, "endpoint": {"baseUrl": text}, "credentials": [{"name": "k", "file": "/k"}]});
            let read = |spec: &Value| {
                let spec = serde_json::from_value(spec.clone()).unwrap();
                Provider::from_spec("p", &spec, &Scope::Standalone)
            };
            let provider = match read(&spec) {
                Ok(provider) => provider,
                Err(problems) => {
                    let problems = problems.to_string();
                    prop_assert!(problems.contains("spec.endpoint.baseUrl"), "{problems}");
                    // The remedy is a base URL that is taken.
                    let right = problems
                        .split("use ")
                        .nth(1)
                        .unwrap()
                        .split_whitespace()
                        .next()
                        .unwrap();
                    prop_assert!(BaseUrl::parse(right).is_ok(), "{problems}");
                    let mut mended = spec.clone();
                    mended["endpoint"]["baseUrl"] = json!(right.trim_end_matches([',', ';', ')']));
                    read(&mended).map_err(|problems| TestCaseError::fail(format!("{text}: {right}: {problems}")))?
                }
            };
            let whole = |framing| {
                let path = provider.platform.path(Endpoint::Generate(framing), wire, "m").unwrap();
                format!("{}{}", provider.base_url.path(), provider.in_version(&path))
            };
            let paths = [whole(Framing::Events), whole(Framing::Whole)];
            for path in paths {
                let versions = path
                    .split('/')
                    .filter(|segment| ["v1", "v1beta", "v1alpha"].contains(segment))
                    .count();
                let without = wire == Dialect::OpenAiChat && version.is_empty() && !prefix.is_empty();
                prop_assert_eq!(versions, usize::from(!without), "{} of {} {}", path, kind, text);
                prop_assert!(
                    path.starts_with(prefix.as_str()) && !path.contains("//"),
                    "{path} of {text}"
                );
                let kept = version.trim_start_matches('/');
                let known = wire != Dialect::AnthropicMessages || kept == "v1";
                prop_assert!(
                    !known || kept.is_empty() || path.contains(&format!("/{kept}/")),
                    "{path} of {text}"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn a_glob_matches_names_with_slashes_and_colons() {
    let names = BTreeMap::from([
        ("meta-llama/*", "meta-llama/Llama-3.1-70B"),
        ("ft:*", "ft:gpt-4o:org::id"),
        ("gemini-*", "models/gemini-2.5-flash"),
        ("models/gemini-*", "gemini-2.5-flash"),
        ("*:8b", "llama3:8b"),
    ]);
    for (glob, asked) in names {
        let routes = json!({"match": {"models": [glob]}, "targets": [{"provider": "p", "model": "own"}]});
        let config = config("OpenAICompatible", &json!({}), &routes);
        assert_eq!(
            chosen(&config, Dialect::OpenAiChat, asked).as_deref(),
            Some("own"),
            "{glob} {asked}"
        );
    }
}
