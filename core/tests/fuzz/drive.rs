//! What turns a target and a corpus into a test.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use crate::mutate::{Form, mutated};

const FIXED_SEED: u64 = 0x626f_7773_7072_6974;
/// Mutations tried to make a failing input smaller.
const SHRINKING: usize = 400;

/// A file of the corpus.
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The files of a target's folder, by name.
pub(crate) fn corpus(target: &str) -> Vec<Seed> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus")).join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| Seed {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            bytes: std::fs::read(&path).unwrap(),
        })
        .collect();
    assert!(!seeds.is_empty(), "{} has no file", folder.display());
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    seeds
}

/// Gives `run` the whole corpus of `target`, then `mutations` of it.
pub(crate) fn fuzz(target: &str, form: Form, mutations: u64, run: fn(&[u8])) {
    let seeds = corpus(target);
    for seed in &seeds {
        attempt(run, &seed.bytes).unwrap_or_else(|why| panic!("corpus/{target}/{}: {why}", seed.name));
    }
    let plan = Plan::from_environment(mutations);
    eprintln!("fuzz {target}: {} files, then {plan:?}", seeds.len());
    let bytes: Vec<&[u8]> = seeds.iter().map(|seed| seed.bytes.as_slice()).collect();
    let begun = Instant::now();
    let mut count = 0;
    while plan.goes_on(count, begun) {
        // A generator for each input: a failure is reproduced without all that came before it.
        let mut rng = Rng::with_seed(plan.seed.wrapping_add(count));
        let input = mutated(form, &bytes, &mut rng);
        if let Err(why) = attempt(run, &input) {
            report(target, plan.seed.wrapping_add(count), run, input, &why);
        }
        count += 1;
    }
    eprintln!("fuzz {target}: {count} inputs in {:?}", begun.elapsed());
}

#[derive(Debug)]
struct Plan {
    seed: u64,
    mutations: u64,
    limit: Option<Duration>,
}

impl Plan {
    fn from_environment(mutations: u64) -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(
                text.parse::<u64>()
                    .unwrap_or_else(|_| panic!("{name} must be a whole number, not {text:?}")),
            )
        };
        let limit = number("FUZZ_SECONDS").map(Duration::from_secs);
        let clock = || {
            SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(FIXED_SEED, |time| time.as_secs())
        };
        let seed = number("FUZZ_SEED").unwrap_or_else(|| if limit.is_some() { clock() } else { FIXED_SEED });
        Self { seed, mutations, limit }
    }

    fn goes_on(&self, count: u64, begun: Instant) -> bool {
        match self.limit {
            Some(limit) => begun.elapsed() < limit,
            None => count < self.mutations,
        }
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs the target; what it says where it panics.
fn attempt(run: fn(&[u8]), input: &[u8]) -> Result<(), String> {
    static HOOK: Once = Once::new();
    // Shrinking panics hundreds of times; only the last word is worth reading.
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| run(input)));
    QUIET.set(false);
    ended.map_err(|why| {
        let text = why.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| why.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a text")
            .to_owned()
    })
}

fn report(target: &str, seed: u64, run: fn(&[u8]), input: Vec<u8>, why: &str) -> ! {
    let small = shrunk(run, input, why);
    let mut hasher = DefaultHasher::new();
    small.hash(&mut hasher);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let file = folder.join(format!("{target}-{:016x}", hasher.finish()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&file, &small).unwrap();
    let said = attempt(run, &small).err().unwrap_or_default();
    panic!(
        "{target} fails with FUZZ_SEED={seed}: {said}\nthe input, shrunk to {} bytes, is in {}:\n{}",
        small.len(),
        file.display(),
        String::from_utf8_lossy(&small[..small.len().min(2_000)])
    );
}

/// The input with all cut out that the failure does not need. The first words of a panic tell one bug from another.
fn shrunk(run: fn(&[u8]), mut input: Vec<u8>, why: &str) -> Vec<u8> {
    let kind = |why: &str| why.chars().take(30).collect::<String>();
    let same = |input: &[u8]| attempt(run, input).is_err_and(|said| kind(&said) == kind(why));
    let mut piece = input.len().div_ceil(2);
    let mut tries = 0;
    while piece > 0 && tries < SHRINKING {
        let mut at = 0;
        while at < input.len() && tries < SHRINKING {
            let end = (at + piece).min(input.len());
            let without = [&input[..at], &input[end..]].concat();
            tries += 1;
            if same(&without) {
                input = without;
            } else {
                at = end;
            }
        }
        piece /= 2;
    }
    input
}
