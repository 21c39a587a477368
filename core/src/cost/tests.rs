use std::sync::Arc;

use bowsprit_crds::ProviderKind;

use super::*;
use crate::config::{self, Provider, Scope};
use crate::dialect::{Dialect, Terms, Usage, usage};
use crate::record::Spent;

/// A provider as its author writes it, but for what every one needs.
fn provider(kind: &str, models: &str) -> Result<Arc<Provider>, String> {
    let text = format!(
        "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: p}}\nspec:\n  provider: {kind}\n  \
         endpoint: {{baseUrl: 'https://models.example'}}\n  credentials: [{{name: main, file: /key}}]\n  models: {models}\n"
    );
    let config = config::load(&text, &Scope::Standalone).map_err(|problems| problems.to_string())?;
    Ok(Arc::clone(&config.providers[0]))
}

fn told(usage: Usage) -> Spent {
    Spent {
        reported: Some(usage),
        ..Spent::default()
    }
}

/// What a whole answer of this kind of provider costs, in dollars.
fn answer(kind: &str, model: &str, dialect: Dialect, body: &str) -> Result<String, Unpriced> {
    let prices = Prices::of(&provider(kind, "[]").unwrap());
    let spent = told(usage(dialect, body.as_bytes()).unwrap());
    prices.cost(model, &spent, || 0).map(|cost| cost.reported.to_string())
}

const MILLION: u64 = 1_000_000;

#[test]
fn the_table_can_be_read_and_every_price_in_it_is_sane() {
    let table = Table::own();
    assert_eq!(table.date.len(), 10, "the table of this release could not be read");
    assert!(table.source.starts_with("https://") && table.licence.starts_with("MIT"));
    let dollar_per_million = Picodollars::per_token("1").unwrap();
    let mut count = 0;
    for (kind, name, tariff) in table.tariffs() {
        count += 1;
        for rates in tariff.steps() {
            // The dearest model of the table costs 150 and 600 dollars.
            for (what, rate) in [
                ("input", rates.input),
                ("output", rates.output),
                ("reasoning", rates.reasoning),
            ] {
                assert!(rate <= dollar_per_million.times(600), "{kind:?} {name}: {what} {rate}");
            }
            assert!(
                rates.input > Picodollars::ZERO,
                "{kind:?} {name} takes input for nothing"
            );
            assert!(
                rates.cache_read <= rates.input,
                "{kind:?} {name}: what is cached costs more than what is not"
            );
            assert!(rates.cache_write <= rates.input.times(2), "{kind:?} {name}");
            assert!(
                rates.cache_write_hour.is_none_or(|hour| hour >= rates.cache_write),
                "{kind:?} {name}"
            );
            assert!(
                rates
                    .web_search
                    .is_none_or(|each| each < Picodollars::new(100_000_000_000)),
                "{kind:?} {name}"
            );
            assert!(
                rates.output >= rates.input || name.contains("embedding"),
                "{kind:?} {name}"
            );
        }
    }
    assert!(count > 200, "{count} names");
    for kind in [ProviderKind::Anthropic, ProviderKind::Gemini, ProviderKind::OpenAI] {
        assert!(table.tariffs().any(|(of, _, _)| of == kind), "{kind:?}");
    }
}

#[test]
fn a_table_with_a_mistake_says_which() {
    let table = |price: &str, names: &str| {
        let text = format!(
            r#"{{"date":"2026-01-31","source":"s","licence":"MIT","models":{{"OpenAI":[{{"names":{names},"prices":{price}}}]}}}}"#
        );
        Table::parse(&text).map(|_| ()).map_err(|error| error.to_string())
    };
    let fine = r#"[{"input":"1","output":"2"}]"#;
    assert_eq!(table(fine, r#"["m"]"#), Ok(()));
    for (price, names, says) in [
        (
            r#"[{"input":"1.0000001","output":"2"}]"#,
            r#"["m"]"#,
            "the price \"1.0000001\" of m has more than six decimals",
        ),
        (
            r#"[{"input":"1","output":"2","from":"soon"}]"#,
            r#"["m"]"#,
            "\"soon\" is no day",
        ),
        (
            fine,
            r#"["m","m"]"#,
            "m has no price, no name, or a name that is there twice",
        ),
        ("[]", r#"["m"]"#, "m has no price"),
        (r#"[{"input":"1"}]"#, r#"["m"]"#, "missing field `output`"),
    ] {
        let error = table(price, names).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_model_is_found_by_its_name_and_by_that_of_an_edition() {
    let table = Table::own();
    let found = |kind, name| table.tariff(kind, name).is_some();
    for name in [
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-opus-4-20250514",
        "claude-haiku-4-5@20251001",
    ] {
        assert!(found(ProviderKind::Anthropic, name), "{name}");
    }
    for name in ["gpt-4o", "gpt-4o-2024-08-06", "o3-mini", "text-embedding-3-small"] {
        assert!(found(ProviderKind::OpenAI, name), "{name}");
    }
    for name in ["gemini-2.5-pro", "models/gemini-2.5-pro", "gemini-2.0-flash-001"] {
        assert!(found(ProviderKind::Gemini, name), "{name}");
    }
    // An edition of a price of its own keeps it.
    let may = table.tariff(ProviderKind::OpenAI, "gpt-4o-2024-05-13");
    assert!(may.is_some() && may != table.tariff(ProviderKind::OpenAI, "gpt-4o"));
    for (kind, name) in [
        (ProviderKind::Anthropic, "claude-sonnet-4-5-experimental"),
        (ProviderKind::Anthropic, "gpt-4o"),
        (ProviderKind::OpenAI, "gpt-99"),
        (ProviderKind::OpenAICompatible, "gpt-4o"),
        (ProviderKind::AzureOpenAI, "gpt-4o"),
    ] {
        assert!(!found(kind, name), "{name} has no list price at {kind:?}");
    }
}

#[test]
fn each_kind_of_token_costs_its_own() {
    let models = "[{name: m, price: {input: '3', output: '15', cacheRead: '0.3', cacheWrite: '3.75', cacheWriteHour: '6', reasoning: '20'}}]";
    let prices = Prices::of(&provider("Anthropic", models).unwrap());
    let cost = |usage| {
        prices
            .cost("m", &told(usage), || 0)
            .map(|cost| cost.total().to_string())
    };
    let of = |set: fn(&mut Usage)| {
        let mut usage = Usage::default();
        set(&mut usage);
        usage
    };
    for (usage, dollars) in [
        (of(|u| u.input = MILLION), "3"),
        (of(|u| u.output = MILLION), "15"),
        (of(|u| (u.input, u.cached) = (MILLION, MILLION)), "0.3"),
        (of(|u| (u.input, u.cache_write) = (MILLION, MILLION)), "3.75"),
        (
            of(|u| (u.input, u.cache_write, u.cache_write_hour) = (MILLION, MILLION, 1_000_000)),
            "6",
        ),
        (of(|u| (u.output, u.reasoning) = (MILLION, MILLION)), "20"),
        (of(|u| (u.input, u.cached) = (3, 1)), "0.0000063"),
        // More cached than there is: what cannot be is not counted below nothing.
        (of(|u| (u.input, u.cached) = (0, 10)), "0.000003"),
    ] {
        assert_eq!(cost(usage).as_deref(), Ok(dollars), "{usage:?}");
    }
}

#[test]
fn what_is_told_and_what_is_estimated_are_added_up_apart() {
    let prices = Prices::of(&provider("OpenAI", "[{name: m, price: {input: '1', output: '2'}}]").unwrap());
    let spent = Spent {
        estimated_output: 7,
        ..told(Usage {
            input: 10,
            output: 5,
            ..Usage::default()
        })
    };
    let cost = prices.cost("m", &spent, || 0).unwrap();
    assert_eq!((cost.reported.get(), cost.estimated.get()), (20_000_000, 14_000_000));
    assert_eq!(cost.version, "config");
}

#[test]
fn nothing_spent_costs_nothing_even_where_no_price_is_known() {
    let prices = Prices::of(&provider("OpenAICompatible", "[{name: m}]").unwrap());
    assert_eq!(prices.cost("m", &Spent::NOTHING, || 0), Ok(Cost::NOTHING));
}

#[test]
fn what_is_not_known_is_never_nothing() {
    let some = told(Usage {
        input: 1,
        ..Usage::default()
    });
    let compatible = Prices::of(&provider("OpenAICompatible", "[{name: m}]").unwrap());
    for model in ["m", "gpt-4o"] {
        assert_eq!(compatible.cost(model, &some, || 0), Err(Unpriced::Model));
    }
    let openai = Prices::of(&provider("OpenAI", "[]").unwrap());
    assert_eq!(openai.cost("gpt-4o", &Spent::default(), || 0), Err(Unpriced::Tokens));
    assert!(openai.cost("gpt-4o", &some, || 0).is_ok());
}

#[test]
fn an_authors_own_price_goes_before_the_tables_and_is_refused_with_its_path() {
    let prices = Prices::of(
        &provider(
            "OpenAI",
            "[{name: gpt-4o, price: {input: '1', output: '1'}}, {name: o3}]",
        )
        .unwrap(),
    );
    let some = told(Usage {
        input: MILLION,
        ..Usage::default()
    });
    let cost = |model| {
        prices
            .cost(model, &some, || 0)
            .map(|cost| (cost.reported.to_string(), cost.version.to_owned()))
    };
    assert_eq!(cost("gpt-4o"), Ok(("1".into(), "config".into())));
    assert_eq!(cost("o3"), Ok(("2".into(), format!("table:{}", Table::own().date))));
    let refused = provider(
        "OpenAI",
        "[{name: a}, {name: b, price: {input: '0.0000001', output: x}}]",
    )
    .unwrap_err();
    for says in [
        "ProviderConfig p: spec.models[1].price.input: \"0.0000001\" has more than six decimals: round it",
        "ProviderConfig p: spec.models[1].price.output: \"x\" is no decimal number: write US dollars per million tokens",
    ] {
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn a_long_input_costs_what_long_inputs_cost() {
    let prices = Prices::of(&provider("Gemini", "[{name: gemini-2.5-pro}]").unwrap());
    let cost = |input| {
        let usage = Usage {
            input,
            ..Usage::default()
        };
        prices
            .cost("gemini-2.5-pro", &told(usage), || 0)
            .map(|cost| cost.reported.get())
    };
    assert_eq!(cost(200_000), Ok(200_000 * 1_250_000));
    assert_eq!(cost(200_001), Ok(200_001 * 2_500_000));
}

#[test]
fn a_price_that_will_change_changes_on_its_day() {
    let text = r#"{"date":"2026-11-01","source":"s","licence":"MIT","models":{"OpenAI":[{"names":["m"],
        "prices":[{"input":"1","output":"1"},{"from":"2026-12-01","input":"2","output":"2"}]}]}}"#;
    let table = Table::parse(text).unwrap();
    let tariff = table.tariff(ProviderKind::OpenAI, "m").unwrap();
    let some = told(Usage {
        input: MILLION,
        ..Usage::default()
    });
    let on = |day: i64| tariff.cost(&some, || day).map(|cost| cost.reported.to_string());
    let december = 20_788 * 86_400;
    assert_eq!((on(december - 1), on(december)), (Ok("1".into()), Ok("2".into())));
}

#[test]
fn a_service_tier_has_its_own_price_or_none() {
    let plain = |tier: &str| {
        let body = format!(r#"{{"choices":[{{}}],"usage":{{"prompt_tokens":1000000,"completion_tokens":0}}{tier}}}"#);
        answer("OpenAI", "o3", Dialect::OpenAiChat, &body)
    };
    for tier in ["", r#","service_tier":"default""#, r#","service_tier":null"#] {
        assert_eq!(plain(tier).as_deref(), Ok("2"), "{tier}");
    }
    assert_eq!(plain(r#","service_tier":"flex""#).as_deref(), Ok("1"));
    assert_eq!(plain(r#","service_tier":"priority""#).as_deref(), Ok("3.5"));
    assert_eq!(plain(r#","service_tier":"scale""#), Err(Unpriced::Terms));
    // Responses repeat what the caller noted, behind what they say themselves.
    let body = r#"{"service_tier":"flex","usage":{"input_tokens":1000000},"metadata":{"service_tier":"default"}}"#;
    assert_eq!(
        answer("OpenAI", "o3", Dialect::OpenAiResponses, body).as_deref(),
        Ok("1")
    );
    let anthropic = |said: &str| {
        let body = format!(r#"{{"usage":{{"input_tokens":1000000,"output_tokens":0,{said}}}}}"#);
        answer("Anthropic", "claude-sonnet-5", Dialect::AnthropicMessages, &body)
    };
    assert_eq!(
        anthropic(r#""service_tier":"standard","inference_geo":"global","speed":null"#).as_deref(),
        Ok("2")
    );
    for said in [
        r#""service_tier":"priority""#,
        r#""inference_geo":"us""#,
        r#""speed":"fast""#,
    ] {
        assert_eq!(anthropic(said), Err(Unpriced::Terms), "{said}");
    }
}

#[test]
fn what_anthropic_keeps_for_an_hour_and_searches_for_costs_more() {
    let body = r#"{"usage":{"input_tokens":0,"cache_creation_input_tokens":2000000,"cache_read_input_tokens":1000000,
        "cache_creation":{"ephemeral_5m_input_tokens":1000000,"ephemeral_1h_input_tokens":1000000},"output_tokens":0,
        "server_tool_use":{"web_search_requests":3}}}"#;
    // 2.50 for five minutes, 4 for an hour, 0.20 read, and three searches at a cent.
    let cost = answer("Anthropic", "claude-sonnet-5", Dialect::AnthropicMessages, body);
    assert_eq!(cost.as_deref(), Ok("6.73"));
}

#[test]
fn sound_has_prices_that_are_not_known() {
    for (dialect, body) in [
        (
            Dialect::Gemini,
            r#"{"usageMetadata":{"promptTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":1},{"modality":"AUDIO","tokenCount":8}]}}"#,
        ),
        (
            Dialect::Gemini,
            r#"{"usageMetadata":{"promptTokenCount":9,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":8}]}}"#,
        ),
        (
            Dialect::OpenAiChat,
            r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"audio_tokens":1}}}"#,
        ),
    ] {
        assert_eq!(usage(dialect, body.as_bytes()).unwrap().terms, Terms::Other, "{body}");
    }
    let pictures = r#"{"usageMetadata":{"promptTokenCount":1000000,"serviceTier":"STANDARD","promptTokensDetails":[{"modality":"IMAGE","tokenCount":8},{"modality":"AUDIO"}]}}"#;
    assert_eq!(
        answer("Gemini", "gemini-2.5-flash", Dialect::Gemini, pictures).as_deref(),
        Ok("0.3")
    );
}
