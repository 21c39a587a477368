//! A route's next embedding model is filled in the background while the old one serves, and then serves at once.

use bowsprit_providers::{Behaviour, Provider, Step, When};
use bowsprit_rig::documents;
use serde_json::{Value, json};

use crate::support::{Bed, Reply};

const OLD: &str = "text-embedding-3-small";
const NEW: &str = "text-embedding-3-large";
/// Numbers of a vector of each, where nothing else is asked for.
const SIZES: [(&str, usize); 2] = [(OLD, 1536), (NEW, 3072)];

/// Writes a route `vectors` to this model; `more` is what its `cache.embeddings` has beside its bound.
fn write(bed: &Bed, model: &str, more: &Value) {
    std::fs::write(bed.config_path(), written(bed, model, more)).unwrap();
}

fn written(bed: &Bed, model: &str, more: &Value) -> String {
    let mut embeddings = json!({"maxBytes": 32 << 20, "keepInputs": 8 << 20});
    embeddings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let spec = json!({
        "match": {"models": ["vectors"]},
        "targets": [{"provider": "openai", "model": model}],
        "cache": {"ttl": "1h", "maxBytes": 1 << 20, "embeddings": embeddings},
    });
    let change = |name: &str, spec: &mut Value| {
        if name == "openai" {
            spec["models"] = json!([{"name": OLD}, {"name": NEW}, {"name": spec["defaultModel"]}]);
        }
    };
    bed.documents(&change) + &documents::route("vectors", &spec)
}

fn bed() -> Bed {
    let mut bed = Bed::providers();
    write(&bed, OLD, &json!({}));
    bed.start(&[]);
    bed
}

/// With the next model, and what else it says.
fn next(more: &Value) -> Value {
    let mut next = json!({"provider": "openai", "model": NEW});
    next.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "next": next })
}

async fn embed(bed: &Bed, inputs: &[String], dimensions: Option<u32>) -> Reply {
    let mut body = json!({"model": "vectors", "input": inputs, "encoding_format": "base64"});
    if let Some(dimensions) = dimensions {
        body["dimensions"] = json!(dimensions);
    }
    bed.post_as("/v1/embeddings", &body, &[]).await
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("text {number}")).collect()
}

/// How far the route is with its next model.
async fn report(bed: &Bed) -> Value {
    bed.health().await["nextEmbeddings"][0].clone()
}

async fn until_it_is(bed: &Bed, state: &str) {
    bed.until(state, || async { report(bed).await["state"] == state }).await;
}

/// The model whose vectors an answer has: all of one.
fn model_of(reply: &Reply) -> &'static str {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    let data = answer["data"].as_array().unwrap();
    let sizes: Vec<usize> = data
        .iter()
        .map(|vector| vector["embedding"].as_str().unwrap().len() / 4 * 3 / 4)
        .collect();
    assert!(
        sizes.iter().all(|size| *size == sizes[0]),
        "two models in one answer: {sizes:?}"
    );
    let (model, _) = SIZES.into_iter().find(|(_, size)| *size == sizes[0]).unwrap();
    assert_eq!(answer["model"], model);
    model
}

/// The inputs that a provider was asked for with this model.
fn asked(provider: &Provider, model: &str) -> Vec<String> {
    let seen = provider.seen();
    let bodies = seen
        .requests
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
    bodies
        .filter(|body| body["model"] == model)
        .flat_map(|body| body["input"].as_array().unwrap().clone())
        .map(|input| input.as_str().unwrap().to_owned())
        .collect()
}

async fn metric(bed: &Bed, family: &str) -> f64 {
    bed.metric(&format!("bowsprit_embedding_refill_{family}{{route=\"vectors\"}}"))
        .await
}

#[tokio::test]
async fn under_traffic_the_next_model_takes_over_at_once_and_no_request_fails() {
    let bed = bed();
    let known = texts(0..150);
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    // The first of what is asked in the background fails, as a provider does now and then.
    bed.openai
        .script(Step::new(Behaviour::status(500)).when(When::model(NEW)));
    write(&bed, OLD, &next(&json!({})));
    let mut models = Vec::new();
    let mut turn = 0;
    while models.last() != Some(&NEW) {
        turn += 1;
        assert!(turn < 5_000, "it never serves: {}", report(&bed).await);
        // Known ones and, now and then, one that is new.
        let batch: Vec<String> = (0..5)
            .map(|place| format!("text {}", (turn * 7 + place * 31) % 151))
            .collect();
        let (one, other) = tokio::join!(embed(&bed, &batch, None), embed(&bed, &known[..3], None));
        models.push(model_of(&one));
        models.push(model_of(&other));
    }
    let first = models.iter().position(|model| *model == NEW).unwrap();
    assert!(models[..first].iter().all(|model| *model == OLD) && first + 2 >= models.len());
    let told = report(&bed).await;
    assert_eq!((&told["state"], &told["filled"]), (&json!("serving"), &told["of"]));
    // The one that is new counts where it was asked for before the next model was in service.
    let of = told["of"].as_f64().unwrap();
    assert!((150.0..=151.0).contains(&of));
    bed.until("all is done", || async { metric(&bed, "queue_depth").await == 0.0 })
        .await;
    assert_eq!((metric(&bed, "filled").await, metric(&bed, "known").await), (of, of));
    assert!(metric(&bed, "entries").await >= 150.0 && metric(&bed, "job_seconds_total").await > 0.0);
    let jobs = |status: &'static str| {
        let series = format!("bowsprit_embedding_refill_jobs_total{{route=\"vectors\",status=\"{status}\"}}");
        let bed = &bed;
        async move { bed.metric(&series).await }
    };
    assert!(jobs("done").await >= 150.0 && jobs("again").await > 0.0 && jobs("given_up").await == 0.0);
    // All that was known is there.
    let before = asked(&bed.openai, NEW).len();
    assert_eq!(model_of(&embed(&bed, &known, None).await), NEW);
    assert_eq!(asked(&bed.openai, NEW).len(), before);
    bed.balanced().await;
}

#[tokio::test]
async fn after_the_switch_ten_changed_inputs_of_ten_thousand_cost_ten() {
    let bed = bed();
    let all = texts(0..10_000);
    for part in all.chunks(2_000) {
        assert_eq!(embed(&bed, part, Some(8)).await.status, 200);
    }
    write(&bed, OLD, &next(&json!({"workers": 8})));
    until_it_is(&bed, "serving").await;
    assert_eq!(report(&bed).await["filled"], 10_000);
    let mut changed = all.clone();
    for place in 0..10 {
        changed[place * 997] = format!("changed {place}");
    }
    let mut hits = 0;
    for part in changed.chunks(2_000) {
        let reply = embed(&bed, part, Some(8)).await;
        assert_eq!((reply.status, &reply.json()["model"]), (200, &json!(NEW)));
        let marked = reply.header("x-bowsprit-cache").to_owned();
        let told = marked
            .strip_prefix("partial; hits=")
            .and_then(|told| told.split_once(';'));
        hits += told.map_or(0, |(hits, _)| hits.parse::<u32>().unwrap());
    }
    assert_eq!(hits, 9_990);
    let newest = asked(&bed.openai, NEW);
    assert_eq!(newest.iter().filter(|input| input.starts_with("changed")).count(), 10);
    bed.balanced().await;
}

#[tokio::test]
async fn what_is_to_be_switched_by_hand_waits_for_the_targets_and_is_taken_over() {
    let bed = bed();
    let known = texts(0..20);
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    write(&bed, OLD, &next(&json!({"switch": "Manual"})));
    until_it_is(&bed, "filled").await;
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    let before = asked(&bed.openai, NEW);
    assert_eq!(before.len(), 20);
    write(&bed, NEW, &json!({}));
    bed.until("it is in service", || async { report(&bed).await.is_null() })
        .await;
    assert_eq!(model_of(&embed(&bed, &known, None).await), NEW);
    assert_eq!(asked(&bed.openai, NEW), before, "what was filled is taken over");
    bed.balanced().await;
}

#[tokio::test]
async fn while_everything_is_paused_nothing_is_asked_for_in_the_background_either() {
    let bed = bed();
    let known = texts(0..10);
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    let without = written(&bed, OLD, &next(&json!({})));
    let paused = documents::policy("freeze", &json!({"paused": true}));
    std::fs::write(bed.config_path(), format!("{without}{paused}")).unwrap();
    let refused = "bowsprit_embedding_refill_jobs_total{route=\"vectors\",status=\"refused\"}";
    bed.until("it is refused", || async { bed.metric(refused).await > 0.0 })
        .await;
    assert!(asked(&bed.openai, NEW).is_empty(), "nobody is asked");
    std::fs::write(bed.config_path(), without).unwrap();
    until_it_is(&bed, "serving").await;
    assert_eq!(model_of(&embed(&bed, &known, None).await), NEW);
    bed.balanced().await;
}

#[tokio::test]
async fn a_text_that_came_before_a_guard_is_not_asked_for_again_past_it() {
    let bed = bed();
    let known = ["charge 4111 1111 1111 1111".to_owned(), "text".to_owned()];
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    let guards = json!({"guards": [{"name": "pii", "applyTo": ["Request"], "detect": ["Card"], "action": "Mask"}]});
    let guarded = documents::policy("house", &guards);
    let with = |embeddings: &Value| format!("{}{guarded}", written(&bed, OLD, embeddings));
    std::fs::write(bed.config_path(), with(&json!({}))).unwrap();
    let masked = "bowsprit_guard_findings_total{guard=\"pii\",decision=\"masked\"}";
    bed.until("the guard looks", || async {
        embed(&bed, &known[..1], Some(8)).await;
        bed.metric(masked).await > 0.0
    })
    .await;
    std::fs::write(bed.config_path(), with(&next(&json!({})))).unwrap();
    bed.until("the next model is asked", || async {
        embed(&bed, &known, None).await;
        !asked(&bed.openai, NEW).is_empty()
    })
    .await;
    let asked = asked(&bed.openai, NEW);
    assert!(asked.iter().all(|text| !text.contains("4111")), "{asked:?}");
    bed.balanced().await;
}

#[tokio::test]
async fn one_input_that_the_next_model_does_not_take_holds_nothing_up() {
    let bed = bed();
    let known = texts(0..10);
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    bed.openai
        .script(Step::new(Behaviour::status(400)).when(When::model(NEW)).times(2));
    write(&bed, OLD, &next(&json!({"workers": 1})));
    until_it_is(&bed, "serving").await;
    let jobs = bed
        .metric("bowsprit_embedding_refill_jobs_total{route=\"vectors\",status=\"given_up\"}")
        .await;
    assert_eq!(jobs, 1.0);
    assert_eq!(model_of(&embed(&bed, &known, None).await), NEW);
    bed.balanced().await;
}

#[tokio::test]
async fn a_next_model_that_takes_nothing_never_serves() {
    let bed = bed();
    let known = texts(0..10);
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    bed.openai
        .script(Step::new(Behaviour::status(400)).when(When::model(NEW)).times(11));
    write(&bed, OLD, &next(&json!({})));
    until_it_is(&bed, "failed").await;
    assert_eq!(model_of(&embed(&bed, &known[..1], None).await), OLD);
    // Once it takes them, it is filled with what is asked for again.
    bed.until("it serves", || async {
        model_of(&embed(&bed, &known, None).await);
        report(&bed).await["state"] == "serving"
    })
    .await;
    assert_eq!(model_of(&embed(&bed, &known, None).await), NEW);
    bed.balanced().await;
}

#[tokio::test]
async fn texts_are_kept_only_where_the_route_says_so_and_given_up_with_it() {
    let mut bed = Bed::providers();
    write(&bed, OLD, &json!({"keepInputs": null}));
    bed.start(&[]);
    let known = texts(0..5);
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    write(
        &bed,
        OLD,
        &json!({"keepInputs": null, "next": {"provider": "openai", "model": NEW}}),
    );
    until_it_is(&bed, "filling").await;
    assert_eq!(
        report(&bed).await["inputs"],
        0,
        "what was asked for before is not known"
    );
    // Asked for again, they are.
    assert_eq!(model_of(&embed(&bed, &known[..4], None).await), OLD);
    bed.until("four are filled", || async { report(&bed).await["filled"] == 4 })
        .await;
    assert_eq!(report(&bed).await["state"], "filling");
    assert_eq!(model_of(&embed(&bed, &known, None).await), OLD);
    until_it_is(&bed, "serving").await;
    bed.balanced().await;
}
