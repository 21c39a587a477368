//! What the cache costs and saves, as a table: the time of a hit in process, and a day of traffic replayed through the real store
//! on its own clock. `make caches` runs it in full and optimised; here it sees with little that everything in the table works.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs
)]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bowsprit_core::call::{Call, Operation};
use bowsprit_core::clock::Moment;
use bowsprit_core::config::{Config, Scope, load};
use bowsprit_core::cost::Picodollars;
use bowsprit_core::dialect::Dialect;
use bowsprit_core::dialect::embeddings::EmbeddingsApi;
use bowsprit_core::json::parse;
use bowsprit_core::kept::acts::Allowed;
use bowsprit_core::kept::inputs::{Parted, Split};
use bowsprit_core::kept::key::{Asked, Key, Whose};
use bowsprit_core::kept::semantic::index::Index;
use bowsprit_core::kept::semantic::marks::marks;
use bowsprit_core::kept::semantic::point::Point;
use bowsprit_core::kept::vector::Vector;
use bowsprit_providers::embedding;
use bowsprit_sidecar::memory::Memory;
use bowsprit_sidecar::metrics::Registry;
use bowsprit_sidecar::observe::{AccessLog, Sinks};
use bowsprit_sidecar::tenant::cache::{Cache, Found};
use bowsprit_sidecar::tenant::kept::{Answer, Looked};
use bowsprit_sidecar::tenant::vectors::{Source, Stored};
use bytes::Bytes;
use http::HeaderValue;
use serde_json::json;

/// The promise: a hit takes so long at most, 99 of 100 times.
const HIT: Duration = Duration::from_micros(100);
const SEED: u64 = 20_261_129;
const DAY: Duration = Duration::from_hours(24);

fn main() {
    let is_full = std::env::var("BOWSPRIT_CACHES").is_ok_and(|value| value == "full");
    let is_optimised = !cfg!(debug_assertions);
    println!(
        "seed {SEED}{}",
        if is_optimised {
            ""
        } else {
            ", not optimised: times are no promise"
        }
    );
    hits(if is_full { 50_000 } else { 500 }, is_optimised);
    day(if is_full { 200_000 } else { 4_000 });
    vectors(if is_full { 20_000 } else { 200 }, is_optimised);
    memory();
    index(if is_full { 100_000 } else { 2_000 }, is_optimised);
    near_misses();
}

/// Numbers by chance, the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn config(max_bytes: usize) -> Config {
    let text = format!(
        "apiVersion: bowsprit.dev/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: claude}}\nspec:\n  provider: Anthropic\n  \
         credentials: [{{name: main, env: K}}]\n  models: [{{name: m}}]\n---\n\
         apiVersion: bowsprit.dev/v1alpha1\nkind: ModelRoute\nmetadata: {{name: smart}}\nspec:\n  match: {{models: [smart]}}\n  \
         targets: [{{provider: claude, model: m}}]\n  cache: {{ttl: 1h, maxBytes: {max_bytes}, temperature: Any, \
         embeddings: {{maxBytes: 67108864}}}}\n"
    );
    load(&text, &Scope::Standalone).unwrap()
}

fn cache(config: &Config) -> Arc<Cache> {
    let sinks = Arc::new(Sinks::register(&mut Registry::default(), AccessLog::in_memory()));
    let cache = Cache::new(&Memory::new(1 << 30), &sinks);
    cache.fit(config);
    cache
}

fn answer(bytes: usize, tokens: u64, cost: i64) -> Arc<Answer> {
    Arc::new(Answer {
        request_id: "0af7651916cd43dd8448eb211c80319c".into(),
        asked: "smart".into(),
        spent: (tokens, Picodollars::new(cost)),
        provider: HeaderValue::from_static("claude"),
        model: Some(HeaderValue::from_static("m")),
        warning: None,
        content_type: Some(HeaderValue::from_static("application/json")),
        body: Bytes::from(vec![b'x'; bytes]),
    })
}

/// As SDKs send them.
const HEADERS: [(&str, &str); 8] = [
    ("host", "127.0.0.1:4000"),
    ("authorization", "Bearer sk-of-the-app-0123456789abcdef"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 2.3.0"),
    ("x-stainless-lang", "python"),
    ("x-stainless-retry-count", "0"),
    ("accept-encoding", "gzip, deflate"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];

fn key(call: &Call, body: &[u8]) -> Key {
    let asked = Asked {
        route: "smart",
        operation: "chat_completions",
        call,
        query: None,
        keys_in_query: None,
        caller: "",
        guards: &[],
        body,
    };
    let allowed = Allowed {
        own_tools: false,
        any_temperature: true,
    };
    let headers = HEADERS.iter().map(|(name, value)| (*name, value.as_bytes()));
    asked.key(headers, allowed, Whose::TheCallers).unwrap()
}

/// From a request's bytes to the kept answer: read, digested, found.
fn hits(times: usize, is_promised: bool) {
    println!("\n{:<34} {:>12} {:>12}   promise", "a hit in process", "p50", "p99");
    for (size, name) in [
        (1 << 10, "request of 1 KiB"),
        (4 << 10, "request of 4 KiB"),
        (16 << 10, "request of 16 KiB"),
    ] {
        let config = config(16 << 20);
        let cache = cache(&config);
        let route = &config.routes[0];
        let mut call = Call::new(Dialect::OpenAiChat, Operation::Generate);
        call.model = "smart".into();
        let bodies: Vec<String> = (0..1_000)
            .map(|number| {
                let text = format!("question {number} ").repeat(size / 16);
                format!(r#"{{"model":"smart","temperature":0,"messages":[{{"role":"user","content":"{text}"}}]}}"#)
            })
            .collect();
        for body in &bodies {
            let found = cache.find(route, key(&call, body.as_bytes()), Moment::ZERO, |_| true);
            let Found::Lead(lead) = found else {
                panic!("it is asked for the first time")
            };
            lead.answered(&answer(4 << 10, 1, 1), Moment::ZERO);
        }
        let mut chance = Chance(SEED);
        let mut took: Vec<Duration> = (0..times)
            .map(|_| {
                let body = &bodies[chance.next() as usize % bodies.len()];
                let began = cpu();
                let found = cache.find(route, key(&call, body.as_bytes()), Moment::ZERO, |_| true);
                let took = cpu().saturating_sub(began);
                assert!(matches!(found, Found::Answer(..)), "it is kept");
                took
            })
            .collect();
        took.sort_unstable();
        let (p50, p99) = (took[times / 2], took[times * 99 / 100]);
        let promise = if size > 4 << 10 { "" } else { "100 us" };
        println!("{name:<34} {:>9.1} us {:>9.1} us   {promise}", micros(p50), micros(p99));
        assert!(
            !is_promised || promise.is_empty() || p99 <= HIT,
            "p99 of a hit: {p99:?}"
        );
    }
}

/// The time that this thread has run: what a hit takes is not what others on the machine take meanwhile.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A day's requests of one pod, repeated as people repeat themselves: the rank of a question by Zipf's law (exponent 1.05).
fn day(requests: usize) {
    let questions = requests / 10;
    let weights: Vec<f64> = (1..=questions).map(|rank| 1.0 / (rank as f64).powf(1.05)).collect();
    let whole: f64 = weights.iter().sum();
    let mut sum = 0.0;
    let upto: Vec<f64> = weights
        .iter()
        .map(|weight| {
            sum += weight / whole;
            sum
        })
        .collect();
    println!("\na day of {requests} requests, {questions} questions, ttl 1h, answers of 0.5 to 8 KiB");
    println!(
        "{:<12} {:>8} {:>9} {:>14} {:>12}",
        "maxBytes", "hits", "gone", "tokens saved", "saved"
    );
    let mut last = -1.0;
    for max_bytes in [256 << 10, 1 << 20, 8 << 20, 64 << 20] {
        let config = config(max_bytes);
        let cache = cache(&config);
        let (route, mut chance) = (&config.routes[0], Chance(SEED));
        let (mut hits, mut asked, mut saved, mut cost, mut all) = (0_usize, 0_usize, 0_u64, 0_i64, 0_i64);
        for number in 0..requests {
            let now = Moment::from_start(DAY.mul_f64(number as f64 / requests as f64));
            let draw = chance.unit();
            let question = upto.partition_point(|upto| *upto < draw);
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(question as u64).to_le_bytes());
            // What a question costs is its own: its answer is as long each time.
            let mut own = Chance(SEED ^ question as u64);
            let bytes = 512 + own.next() as usize % 7_680;
            let (input, output) = (200 + own.next() % 1_800, bytes as u64 / 4);
            // $3 and $15 a million tokens.
            let price = i64::try_from(input * 3_000_000 + output * 15_000_000).unwrap();
            all += price;
            match cache.find(route, Key::of_digest(digest), now, |_| true) {
                Found::Answer(answer, age) => {
                    assert!(age <= Duration::from_hours(1));
                    hits += 1;
                    saved += answer.spent.0;
                    cost += answer.spent.1.get();
                }
                Found::Lead(lead) => {
                    asked += 1;
                    lead.answered(&answer(bytes, input + output, price), now);
                }
                _ => panic!("one after another"),
            }
            let report = &cache.answers.report()[0];
            assert!(report.bytes <= max_bytes, "the bound holds");
        }
        let report = &cache.answers.report()[0];
        let share = hits as f64 / requests as f64 * 100.0;
        println!(
            "{:<12} {share:>7.1}% {:>9} {saved:>14} {:>7.2} of ${:.2}",
            format!("{} KiB", max_bytes >> 10),
            asked - report.answers,
            cost as f64 / 1e12,
            all as f64 / 1e12,
        );
        assert_eq!(hits + asked, requests);
        assert!(share >= last, "more memory saves no less");
        last = share;
    }
}

/// Inputs of 1536 numbers, from the request's bytes to the answer's: read, digested, found, put together.
fn vectors(times: usize, is_promised: bool) {
    println!(
        "\n{:<34} {:>12} {:>12}   promise",
        "a kept vector of 1536 numbers", "p50", "p99"
    );
    let config = config(16 << 20);
    let (cache, route, mut chance) = (cache(&config), &config.routes[0], Chance(SEED));
    let call = Call::new(Dialect::OpenAiChat, Operation::Embed(EmbeddingsApi::OpenAi));
    let numbers: Vec<f32> = (0..1_536).map(|_| (chance.unit() - 0.5) as f32 / 10.0).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let python = numbers.iter().map(|number| f64::from(*number)).collect::<Vec<f64>>();
    let forms = [
        ("base64", json!(base64::engine::general_purpose::STANDARD.encode(bytes))),
        ("float", json!(python)),
    ];
    for (encoding, value) in forms {
        let vector = Vector::of(&parse(value.to_string().as_bytes()).unwrap()).unwrap();
        assert!(!matches!(vector, Vector::Text(_)), "32-bit numbers");
        let stored = Arc::new(Stored {
            vector,
            source: source(),
        });
        let bodies: Vec<String> = (0..500)
            .map(|number| {
                format!(
                    r#"{{"model":"m","encoding_format":"{encoding}","input":"{}{number}"}}"#,
                    "some text ".repeat(80)
                )
            })
            .collect();
        let look = |body: &str| {
            let split = Split::of(EmbeddingsApi::OpenAi, &Bytes::copy_from_slice(body.as_bytes())).unwrap();
            let headers = HEADERS.iter().map(|(name, value)| (*name, value.as_bytes()));
            let key = split.keys(&asked(&call).prefix(headers, Whose::TheCallers)).unwrap()[0];
            (key, cache.vectors.look(route, &key, Moment::ZERO))
        };
        for body in &bodies {
            let (key, _) = look(body);
            cache.vectors.keep(route, key, Arc::clone(&stored), Moment::ZERO, None);
        }
        let mut took: Vec<Duration> = (0..times)
            .map(|_| {
                let body = &bodies[chance.next() as usize % bodies.len()];
                let began = cpu();
                let (_, Looked::Found(found, ..)) = look(body) else {
                    panic!("it is kept")
                };
                let answer = Parted::unasked(EmbeddingsApi::OpenAi, "m");
                let answer = answer.joined(EmbeddingsApi::OpenAi, std::iter::once(&found.vector));
                let took = cpu().saturating_sub(began);
                assert!(answer.len() > 8_000);
                took
            })
            .collect();
        took.sort_unstable();
        let (p50, p99) = (took[times / 2], took[times * 99 / 100]);
        println!(
            "{encoding:<34} {:>9.1} us {:>9.1} us   100 us",
            micros(p50),
            micros(p99)
        );
        assert!(!is_promised || p99 <= HIT, "p99 of a kept vector ({encoding}): {p99:?}");
    }
}

fn asked(call: &Call) -> Asked<'_> {
    Asked {
        route: "smart",
        operation: "embeddings",
        call,
        query: None,
        keys_in_query: None,
        caller: "",
        guards: &[],
        body: b"",
    }
}

fn source() -> Arc<Source> {
    Arc::new(Source {
        request_id: "0af7651916cd43dd8448eb211c80319c".into(),
        asked: "smart".into(),
        model: "m".into(),
        provider: HeaderValue::from_static("openai"),
        spent: (1, Picodollars::ZERO),
    })
}

/// What ten thousand vectors take beside themselves, as the allocator counts it.
fn memory() {
    const VECTORS: usize = 10_000;
    const MOST: usize = 4 << 20;
    const DIMENSIONS: usize = 256;
    let config = config(16 << 20);
    let (cache, route, mut kept) = (cache(&config), &config.routes[0], 0);
    let measured = allocation_counter::measure(|| {
        let mut from = source();
        for number in 0..VECTORS {
            // Of batches of a hundred.
            if number % 100 == 0 {
                from = source();
            }
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            let vector = Vector::Base64(vec![7; DIMENSIONS * 4].into());
            let stored = Arc::new(Stored {
                vector,
                source: Arc::clone(&from),
            });
            cache
                .vectors
                .keep(route, Key::of_digest(digest), stored, Moment::ZERO, None);
        }
        kept = cache.vectors.report()[0].answers;
    });
    let beside = usize::try_from(measured.bytes_current).unwrap() - VECTORS * DIMENSIONS * 4;
    assert_eq!(kept, VECTORS);
    println!(
        "\n{VECTORS} vectors: {:.2} MiB beside the vectors, {} bytes each (promise: 4 MiB)",
        beside as f64 / f64::from(1 << 20),
        beside / VECTORS
    );
    assert!(beside <= MOST, "{beside} bytes beside the vectors");
}

/// The promise of the index of questions: so many are taken in a second, and a search takes so long at most, 99 of 100 times.
const INSERTS: f64 = 148_000.0;
const SEARCH: Duration = Duration::from_millis(75);

/// An index of so many questions in one bucket, vectors of 384 numbers around a thousand subjects.
fn index(questions: usize, is_promised: bool) {
    const WIDTH: usize = 384;
    let mut chance = Chance(SEED);
    let mut around = |centre: Option<&[f32]>, spread: f64| -> Vec<f32> {
        let number = |at: usize| centre.map_or(0.0, |centre| centre[at]) + ((chance.unit() - 0.5) * spread) as f32;
        (0..WIDTH).map(number).collect()
    };
    let subjects: Vec<Vec<f32>> = (0..questions.min(1_000)).map(|_| around(None, 1.0)).collect();
    let mut point = |number: usize| {
        let centre = &subjects[number % subjects.len()];
        Point::of(&[around(Some(centre), 0.5)]).unwrap()
    };
    let points: Vec<Point> = (0..questions).map(&mut point).collect();
    let key = |number: usize| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        Key::of_digest(digest)
    };
    let mut index = Index::new(usize::MAX);
    let bucket = key(usize::MAX);
    let began = cpu();
    for (number, point) in points.iter().enumerate() {
        index.insert(bucket, point, key(number), Moment::ZERO).unwrap();
    }
    let inserts = questions as f64 / cpu().saturating_sub(began).as_secs_f64();
    let bytes = index.bytes() as f64 / f64::from(1 << 20);
    let found = index.bucket(&bucket).unwrap();
    let queries: Vec<Point> = (0..200).map(&mut point).collect();
    let mut took = Vec::new();
    let mut right = 0;
    for (number, query) in queries.iter().enumerate() {
        let began = cpu();
        let nearest = found.nearest(query).unwrap();
        took.push(cpu().saturating_sub(began));
        // Each with each, one number after the other, in twice the digits.
        if number % 4 == 0 {
            let best = points.iter().enumerate().map(|(at, point)| {
                let pairs = point.numbers().iter().zip(query.numbers());
                (
                    at,
                    pairs
                        .map(|(one, other)| f64::from(*one) * f64::from(*other))
                        .sum::<f64>(),
                )
            });
            let (best, _) = best.max_by(|(_, one), (_, other)| one.total_cmp(other)).unwrap();
            right += usize::from(key(best) == nearest.0);
        }
    }
    took.sort_unstable();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    let began = cpu();
    for number in 0..questions {
        assert!(index.remove(&key(number)));
    }
    let deletes = questions as f64 / cpu().saturating_sub(began).as_secs_f64();
    println!("\nan index of {questions} questions, vectors of {WIDTH} numbers, one bucket");
    println!(
        "inserts {inserts:.0}/s (promise 148000)   deletes {deletes:.0}/s   search p50 {:.2} ms, p99 {:.2} ms (promise 75)   recall {:.3}   {bytes:.0} MiB",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        right as f64 / 50.0,
    );
    assert_eq!(right, 50, "what looks at all misses none");
    assert!(!is_promised || inserts >= INSERTS, "{inserts} inserts a second");
    assert!(!is_promised || p99 <= SEARCH, "p99 of a search: {p99:?}");
}

/// Pairs of questions that look alike: how many would get each other's answer, by the vectors alone and with what is read out of the
/// texts. The vectors are those of the scripted provider, which knows letters and no meaning: near misses are nearer to it than to any
/// model, and what is worded otherwise is farther.
fn near_misses() {
    const PAIRS: &str = include_str!("../../core/tests/semantic/pairs.tsv");
    // With what kind it is, how alike the vectors are, and whether the texts have the same marks.
    let pairs: Vec<(&str, f32, bool)> = PAIRS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let [kind, one, other] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let point = |text| Point::of(&[embedding(text, 384)]).unwrap();
            let likeness = point(one).likeness(point(other).numbers());
            (kind, likeness, marks(one) == marks(other))
        })
        .collect();
    let kinds = [
        "negation", "number", "name", "language", "unit", "date", "code", "word", "same",
    ];
    println!("\npairs that are given each other's answer: by vectors alone / with what is read out of the texts");
    print!("{:<10} {:>5}", "kind", "pairs");
    let thresholds = [0.80_f32, 0.85, 0.90, 0.95];
    for threshold in thresholds {
        print!(" {threshold:>11.2}");
    }
    println!("  marks alone");
    for kind in kinds {
        let of_kind: Vec<_> = pairs.iter().filter(|(of, ..)| *of == kind).collect();
        print!("{kind:<10} {:>5}", of_kind.len());
        for threshold in thresholds {
            let near = of_kind.iter().filter(|(_, likeness, _)| *likeness >= threshold);
            let (vectors, both) = (near.clone().count(), near.filter(|(.., marked)| *marked).count());
            print!(" {:>11}", format!("{vectors} / {both}"));
        }
        println!("  {:>11}", of_kind.iter().filter(|(.., marked)| *marked).count());
    }
    let rate = |threshold: f32| {
        let misses = pairs.iter().filter(|(kind, ..)| *kind != "same");
        let near = misses.clone().filter(|(_, likeness, _)| *likeness >= threshold);
        let (all, vectors) = (misses.count() as f64, near.clone().count() as f64);
        (
            vectors / all * 100.0,
            near.filter(|(.., marked)| *marked).count() as f64 / all * 100.0,
        )
    };
    for threshold in thresholds {
        let (vectors, both) = rate(threshold);
        println!("false hits at {threshold:.2}: {vectors:.1} % by vectors alone, {both:.1} % with the texts read");
    }
    let read = |kind: &str| pairs.iter().filter(|(of, _, marked)| *of == kind && *marked).count();
    for kind in &kinds[..7] {
        assert_eq!(read(kind), 0, "{kind}: marks tell each pair apart");
    }
    assert!(read("same") * 2 >= pairs.iter().filter(|(kind, ..)| *kind == "same").count());
}
