//! What an app asks its sidecar by plain HTTP, without an SDK: any path, headers of its own, and the whole of what comes back.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{App, Running};

/// By Python's own library, without retries of its own: status, headers and body, as one line of JSON.
const CALL: &str = r"
import json, sys, urllib.request, urllib.error
asked = json.loads(sys.argv[1])
body = None if asked['body'] is None else json.dumps(asked['body']).encode()
request = urllib.request.Request('http://127.0.0.1:4000' + asked['path'], body, asked['headers'], method=asked['method'])
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
headers = {name.lower(): value for name, value in answer.headers.items()}
print(json.dumps({'status': answer.status, 'headers': headers, 'body': answer.read().decode()}))
";

/// Asks ten times a second at the most for so many seconds, and says at the end how often it got which status. Where it knows its limit, a 429
/// of another one has a name of its own.
const ASK_ON: &str = r"
import json, sys, time, urllib.request, urllib.error
asked = {'model': 'claude-sonnet-4-5', 'messages': [{'role': 'user', 'content': 'ahoy'}]}
got, end, known = {}, time.monotonic() + float(sys.argv[1]), sys.argv[2:]
while time.monotonic() < end:
    request = urllib.request.Request('http://127.0.0.1:4000/v1/chat/completions', json.dumps(asked).encode(), {'content-type': 'application/json'})
    try:
        status = urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        status = error.code
        limit = error.headers.get('x-bowsprit-limit')
        if status == 429 and known and limit not in known:
            status = f'429 of {limit}'
    if not got:
        print('begun', flush=True)
    got[status] = got.get(status, 0) + 1
    time.sleep(0.1)
print(json.dumps(got))
";

/// An answer.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// Its status.
    pub status: u64,
    headers: Value,
    /// Its text.
    pub body: String,
}

impl Answer {
    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_default()
    }

    /// Its text as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }
}

impl App<'_> {
    /// Calls a path of the sidecar, with these headers beside `content-type`.
    pub async fn call(&self, method: &str, path: &str, headers: &Value, body: Option<&Value>) -> Result<Answer> {
        let mut all = json!({"content-type": "application/json"});
        for (name, value) in headers.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let asked = json!({"method": method, "path": path, "headers": all, "body": body}).to_string();
        let output = self.run(&["/usr/bin/python3", "-c", CALL, &asked]).await?;
        ensure!(output.ok, "the app failed: {output:?}");
        serde_json::from_str(&output.stdout).with_context(|| format!("no JSON: {}", output.stdout))
    }

    /// Starts to ask ten times a second, for so many seconds: it says `begun` with its first answer, and at the end how often it got which status,
    /// as JSON. `limit`: the one that it is under, so that a 429 of another is told apart.
    pub async fn ask_on(&self, seconds: u32, limit: Option<&str>) -> Result<Running> {
        let seconds = seconds.to_string();
        let mut command = vec!["/usr/bin/python3", "-c", ASK_ON, &seconds];
        command.extend(limit);
        self.start(&command).await
    }
}
