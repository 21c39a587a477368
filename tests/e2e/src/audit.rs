//! What the apiserver says that the operators wrote.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::machine;

/// One write of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// When the apiserver got it: RFC 3339 in UTC, microseconds, so that texts compare as times do.
    pub at: String,
    /// The pod that made it, from its token.
    pub pod: String,
    /// Such as `patch configmaps team/bowsprit-config`.
    pub what: String,
    /// The status it was answered with.
    pub status: u64,
}

impl Write {
    /// Whether it changed anything.
    pub fn was_taken(&self) -> bool {
        self.status < 300
    }
}

/// What changes nothing: questions that are asked by creating.
const QUESTIONS: [&str; 2] = ["tokenreviews", "subjectaccessreviews"];

/// All writes of the operators since the bed came up, in the apiserver's order.
pub async fn writes() -> Result<Vec<Write>> {
    let path = machine::logs()?.join("audit.log");
    let text = tokio::fs::read_to_string(&path)
        .await
        .with_context(|| format!("reading {}", path.display()))?;
    // The last line may be under way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).context("a line of the audit log"));
    let writes: Result<Vec<_>> = lines.map(|line| Ok(write(&line?))).collect();
    Ok(writes?.into_iter().flatten().collect())
}

fn write(line: &Value) -> Option<Write> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &line["objectRef"];
    let resource = text(&object["resource"]);
    if QUESTIONS.contains(&resource.as_str()) {
        return None;
    }
    let (namespace, name) = (text(&object["namespace"]), text(&object["name"]));
    let part = object["subresource"]
        .as_str()
        .map_or(String::new(), |part| format!("/{part}"));
    Some(Write {
        at: text(&line["requestReceivedTimestamp"]),
        pod: text(&line["user"]["extra"]["authentication.kubernetes.io/pod-name"][0]),
        what: format!("{} {resource}{part} {namespace}/{name}", text(&line["verb"])),
        status: line["responseStatus"]["code"].as_u64().unwrap_or_default(),
    })
}
