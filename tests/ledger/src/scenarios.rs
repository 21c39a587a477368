//! What happens, and whether the sums are the same after it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bowsprit_ledger::query::Money;
use bowsprit_providers::{Answer, Behaviour, Provider, Tokens};
use bowsprit_rig::metrics::sum;
use serde_json::json;
use tokio::sync::watch;

use crate::Args;
use crate::limits;
use crate::sums::{KINDS, Sum, billed, counted, held};
use crate::traffic::{self, AT_ONCE, Asked, Manner};
use crate::world::World;

/// Until the ledger has all.
const PATIENCE: Duration = Duration::from_mins(3);
/// How long nothing must come for it to be all, where nobody knows how much that is.
const QUIET: Duration = Duration::from_secs(4);
/// What a sidecar that is killed may lose: records of so long (docs/ledger.md).
const WINDOW: Duration = Duration::from_millis(100);

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The first provider answers a third of its requests with 429, 500 or 529.
    Errors,
    /// The first provider is slow, and a second is asked beside it.
    Slow,
    /// Callers leave.
    Leaving,
    SidecarKilled,
    ServiceKilled,
    DatabaseKilled,
    DatabaseAway,
}

/// Plays all of them; whether all sums were the same.
pub(crate) async fn all(args: &Args) -> bool {
    let mut closes = true;
    for (title, fault, postgres) in [
        ("every API, plain and streamed", Fault::Nothing, false),
        ("retries and fallbacks", Fault::Errors, false),
        ("hedged requests", Fault::Slow, false),
        ("callers that leave in mid-stream", Fault::Leaving, false),
        ("the ledger service killed, SQLite", Fault::ServiceKilled, false),
        ("the ledger service killed, PostgreSQL", Fault::ServiceKilled, true),
        ("PostgreSQL killed", Fault::DatabaseKilled, true),
        ("PostgreSQL away", Fault::DatabaseAway, true),
        ("the sidecar killed", Fault::SidecarKilled, false),
    ] {
        let is_scrapable = !postgres && !matches!(fault, Fault::ServiceKilled | Fault::SidecarKilled);
        if args.scraped.is_some() && !is_scrapable {
            continue;
        }
        println!("\n{title}");
        closes &= play(args, title, fault, postgres).await;
    }
    closes
}

/// Answers with token counts of their own, and errors among them where there are to be some.
fn script(provider: &Provider, fault: Fault, is_first: bool, count: usize, chance: &mut fastrand::Rng) {
    for _ in 0..count * 3 {
        if fault == Fault::Errors && is_first && chance.u8(..3) == 0 {
            provider.script(Behaviour::status([429, 500, 529][chance.usize(..3)]));
            continue;
        }
        let input = chance.u64(50..5_000);
        let mut answer = Answer::new("one two three four five six seven eight");
        answer.usage = Tokens {
            input: Some(input),
            output: Some(chance.u64(20..2_000)),
            cached: chance.u64(..=input / 2),
            cache_write: if is_first { 0 } else { chance.u64(..=input / 4) },
            reasoning: if is_first { chance.u64(..20) } else { 0 },
        };
        if fault == Fault::Slow && is_first && chance.bool() {
            answer.head_delay_ms = 150;
        }
        if fault == Fault::Leaving {
            answer.delay_ms = 2;
        }
        provider.script(answer);
    }
}

async fn play(args: &Args, title: &str, fault: Fault, postgres: bool) -> bool {
    let mut chance = fastrand::Rng::with_seed(args.seed);
    let mut world = World::start(&args.bin, postgres, fault == Fault::Slow).await;
    if args.scraped.is_some() {
        world.scraped();
    }
    script(&world.first.provider, fault, true, args.requests, &mut chance);
    script(&world.second.provider, fault, false, args.requests, &mut chance);
    let models: &'static [&'static str] = match fault {
        Fault::Slow => &["hedged"],
        // Its streams tell nothing before their end: what is left of one is an estimate, and not half a bill.
        Fault::Leaving => &["gpt-4.1-mini"],
        _ => &["gpt-4.1-mini", "claude-sonnet-4-5"],
    };
    let asked = Asked {
        models,
        manner: if fault == Fault::Leaving {
            Manner::Leaving
        } else {
            Manner::Patient
        },
        count: args.requests,
        seed: args.seed,
    };
    let (place, address) = watch::channel(world.sidecar().listen);
    let begun = Instant::now();
    let traffic = tokio::spawn(traffic::run(address, asked));
    disturb(&mut world, fault, args, &traffic, &place).await;
    let answered = traffic.await.unwrap();
    let rate = args.requests as f64 / begun.elapsed().as_secs_f64();
    println!(
        "  {} requests, {answered} answered in full, {rate:.0} a second",
        args.requests
    );
    if fault == Fault::SidecarKilled {
        return bounded(&world, args, rate).await;
    }
    let mut lines = Lines::new(args.scraped.as_deref(), title);
    let mut closes = exact(&world, fault, &mut lines).await;
    if fault == Fault::Nothing {
        closes &= limits::hold(&world).await;
    }
    (args.scraped.is_none() || entered(&world, &mut lines).await) && closes
}

/// Does what the fault is, again and again while the traffic lasts.
async fn disturb(
    world: &mut World,
    fault: Fault,
    args: &Args,
    traffic: &tokio::task::JoinHandle<usize>,
    place: &watch::Sender<std::net::SocketAddr>,
) {
    if fault == Fault::DatabaseAway {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.database.as_mut().unwrap().kill();
        tokio::time::sleep(Duration::from_secs(args.away)).await;
        start_database(world).await;
        return;
    }
    let each = (args.requests / (args.kills + 1)) as u64;
    for kill in 1..=args.kills as u64 {
        let seen = |world: &World| {
            let of = |provider: &Provider| provider.seen().counts.requests;
            of(&world.first.provider) + of(&world.second.provider)
        };
        while seen(world) < kill * each && !traffic.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match fault {
            Fault::SidecarKilled => {
                world.kill_sidecar().await;
                place.send_replace(world.sidecar().listen);
            }
            Fault::ServiceKilled => world.kill_service().await,
            Fault::DatabaseKilled => {
                world.database.as_mut().unwrap().kill();
                start_database(world).await;
            }
            Fault::Nothing | Fault::Errors | Fault::Slow | Fault::Leaving | Fault::DatabaseAway => return,
        }
    }
}

async fn start_database(world: &mut World) {
    let mut database = world.database.take().unwrap();
    world.database = tokio::task::spawn_blocking(move || {
        database.start();
        Some(database)
    })
    .await
    .unwrap();
}

/// All three sums, once the ledger has what the metrics count; every difference must be 0.
///
/// Where an answer is no longer wanted, since its caller left or another attempt won, a provider may have sent all of it by then, and
/// nobody has read the end with its usage: it bills that, and the sidecar estimates it. So the bill is then at least what metrics and
/// ledger have, which are still the same.
async fn exact(world: &World, fault: Fault, lines: &mut Lines<'_>) -> bool {
    let are_some_unread = matches!(fault, Fault::Leaving | Fault::Slow);
    let begun = Instant::now();
    let backends = [&world.first, &world.second];
    let (counts, held) = loop {
        let metrics = world.metrics().await;
        let counts = backends.map(|backend| counted(&metrics, backend));
        let held = held(world).await;
        let attempts = |sums: &[Sum; 2]| sums.map(|sum| sum.attempts);
        if held.as_ref().is_some_and(|held| attempts(held) == attempts(&counts)) || begun.elapsed() > PATIENCE {
            break (counts, held.unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    println!("  the ledger had all {:.1} s later", begun.elapsed().as_secs_f64());
    let mut closes = true;
    println!(
        "    {:18} {:12} {:>18} {:>18} {:>18} {:>10}",
        "model", "", "billed", "metrics", "ledger", "difference"
    );
    for ((backend, counts), held) in backends.iter().zip(counts).zip(held) {
        let (bill, cut) = billed(backend);
        let mut line =
            |what: &str, billed: Option<String>, counts: String, held: String, is_same: bool, difference: i128| {
                closes &= is_same;
                let billed = billed.unwrap_or_default();
                lines.write(backend.model, what, [&billed, &counts, &held], is_same);
                let verdict = if is_same { "" } else { "  DIFFERS" };
                println!(
                    "    {:18} {what:12} {billed:>18} {counts:>18} {held:>18} {difference:>10}{verdict}",
                    backend.model
                );
            };
        let same = |a: u64, b: u64| (a == b, i128::from(a) - i128::from(b));
        let (is_same, difference) = same(held.attempts, counts.attempts);
        line(
            "attempts",
            None,
            counts.attempts.to_string(),
            held.attempts.to_string(),
            is_same,
            difference,
        );
        for (kind, name) in KINDS.iter().enumerate() {
            let (bill, counts, held) = (bill.tokens[kind], counts.tokens[kind], held.tokens[kind]);
            let is_same = counts == held && (bill == held || are_some_unread && bill > held);
            let difference = i128::from(held) - i128::from(bill);
            line(
                name,
                Some(bill.to_string()),
                counts.to_string(),
                held.to_string(),
                is_same,
                difference,
            );
        }
        let money = |amount: i128| format!("${}", Money(amount));
        // Metrics are floats: a picodollar is beyond them.
        let is_billed = bill.cost == held.cost || are_some_unread && bill.cost > held.cost;
        let is_same = is_billed && (counts.cost - held.cost).abs() <= 1_000;
        let difference = held.cost - bill.cost;
        line(
            "cost",
            Some(money(bill.cost)),
            money(counts.cost),
            money(held.cost),
            is_same,
            difference,
        );
        let told = format!("({} cut off)", cut.input + cut.output);
        let (is_same, difference) = same(held.estimated, counts.estimated);
        line(
            "estimated",
            Some(told),
            counts.estimated.to_string(),
            held.estimated.to_string(),
            is_same,
            difference,
        );
    }
    closes
}

/// Each request and attempt that the metrics count is an entry of the outbox, and the service took each.
async fn entered(world: &World, lines: &mut Lines<'_>) -> bool {
    let metrics = world.metrics().await;
    let of = |family: &str| sum(&metrics, family, &[]);
    let ended = of("bowsprit_requests_total") + of("bowsprit_attempts_total");
    let [kept, taken] = ["bowsprit_ledger_entries_total", "bowsprit_ledger_service_entries_total"].map(of);
    let is_same = (ended - kept).abs() < 0.5 && (kept - taken).abs() < 0.5;
    println!("    {ended} requests and attempts, {kept} entries of the outbox, {taken} of the service");
    let columns = [ended, kept, taken].map(|count| count.to_string());
    lines.write("all models", "entries", columns.each_ref().map(String::as_str), is_same);
    is_same
}

/// The file of what was compared, where one is wanted.
struct Lines<'a> {
    file: Option<File>,
    title: &'a str,
}

impl<'a> Lines<'a> {
    fn new(path: Option<&Path>, title: &'a str) -> Self {
        let file = path.map(|path| File::options().create(true).append(true).open(path).unwrap());
        Self { file, title }
    }

    /// Bill, metrics and ledger of one kind of thing.
    fn write(&mut self, model: &str, what: &str, [billed, metrics, ledger]: [&str; 3], is_same: bool) {
        if let Some(file) = &mut self.file {
            let line = json!({"scenario": self.title, "model": model, "what": what, "billed": billed, "metrics": metrics, "ledger": ledger, "same": is_same});
            writeln!(file, "{line}").unwrap();
        }
    }
}

/// Of a sidecar that was killed again and again, the ledger has all but what was answered within the commit window before each
/// death; and never more than was billed.
async fn bounded(world: &World, args: &Args, rate: f64) -> bool {
    let begun = Instant::now();
    let (mut last, mut since) = (held(world).await, Instant::now());
    // What a sidecar has not sent yet is on its way however quiet it is.
    let is_kept = async || sum(&world.sidecar().metrics().await, "bowsprit_ledger_bytes", &[]) > 0.0;
    while (since.elapsed() < QUIET || is_kept().await) && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = held(world).await;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    let last = last.unwrap_or_default();
    let mut closes = true;
    let (mut billed_answers, mut missing) = (0, 0);
    println!(
        "    {:18} {:12} {:>18} {:>18} {:>18} {:>10}",
        "model", "", "billed", "", "ledger", "difference"
    );
    for (backend, held) in [&world.first, &world.second].into_iter().zip(last) {
        let (bill, cut) = billed(backend);
        billed_answers += bill.attempts;
        missing += i128::from(bill.attempts + cut.answers) - i128::from(held.attempts);
        for (kind, name) in KINDS.iter().enumerate() {
            let difference = i128::from(held.tokens[kind]) - i128::from(bill.tokens[kind]);
            // What a dead sidecar was told and never wrote is missing; nothing is ever counted twice.
            let is_fine = difference <= 0;
            closes &= is_fine;
            let verdict = if is_fine { "" } else { "  TOO MUCH" };
            println!(
                "    {:18} {name:12} {:>18} {:>18} {:>18} {difference:>10}{verdict}",
                backend.model, bill.tokens[kind], "", held.tokens[kind]
            );
        }
    }
    let bound = args.kills as f64 * (AT_ONCE as f64 + rate * WINDOW.as_secs_f64());
    let is_within = missing >= 0 && (missing as f64) <= bound;
    println!(
        "  {missing} attempts of {billed_answers} are missing after {} kills; at most {bound:.0}: those under way and those of the last {WINDOW:?}{}",
        args.kills,
        if is_within { "" } else { "  TOO MANY" }
    );
    closes && is_within
}
