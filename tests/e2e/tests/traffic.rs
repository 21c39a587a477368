//! An unchanged app is answered through its sidecar.

use anyhow::ensure;
use bowsprit_e2e::test;
use serde_json::{Value, json};

#[tokio::test]
async fn the_apps_own_sdk_is_answered_plain_and_streamed() {
    test("traffic", async |bed| {
        let app = bed.app("app").await?;
        let answer = app.ask("ahoy there").await?;
        ensure!(
            answer.trim() == "Hello from anthropic (claude-sonnet-4-5): ahoy there",
            "{answer:?}"
        );
        let answer = app.app(&["--stream", "fair winds"]).await?;
        ensure!(
            answer.ok && answer.stdout.contains("(claude-sonnet-4-5): fair winds"),
            "{answer:?}"
        );

        // The provider's side: the key of the Secret and not the app's placeholder, and each question asked once.
        let requests = bed.providers().requests("anthropic").await?;
        ensure!(requests.len() == 2, "{requests:#?}");
        ensure!(
            requests.iter().all(|request| request["key"] == "key-of-claude"),
            "{requests:#?}"
        );
        ensure!(
            requests[1]["stream"] == true,
            "a streamed question must be streamed to the provider, too"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn every_account_answers_in_the_callers_dialect() {
    test("dialects", async |bed| {
        let app = bed.app("app").await?;
        for (model, api) in [("claude-sonnet-4-5", "anthropic"), ("gemini-2.5-flash", "gemini")] {
            for stream in [&[][..], &["--stream"]] {
                let answer = app.app(&[stream, &["--model", model, "ahoy"]].concat()).await?;
                let expected = format!("Hello from {api} ({model}): ahoy");
                ensure!(
                    answer.ok && answer.stdout.trim() == expected,
                    "{model} {stream:?}: {answer:?}"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_answer_has_usage_a_request_id_and_the_providers_name() {
    test("headers", async |bed| {
        let app = bed.app("app").await?;
        let printed = app
            .python(
                "import json, openai\n\
                 raw = openai.OpenAI().chat.completions.with_raw_response.create(model='gpt-5-mini',\n\
                 \x20 messages=[{'role': 'system', 'content': 'be brief'}, {'role': 'user', 'content': 'ahoy'}],\n\
                 \x20 extra_headers={'x-request-id': 'e2e-1'})\n\
                 print(json.dumps({'headers': dict(raw.headers), 'body': raw.parse().model_dump()}))",
            )
            .await?;
        let printed: Value = serde_json::from_str(&printed)?;
        let (headers, body) = (&printed["headers"], &printed["body"]);
        ensure!(headers["x-request-id"] == "e2e-1", "{headers:#}");
        ensure!(headers["x-bowsprit-provider"] == "claude", "{headers:#}");
        let usage = &body["usage"];
        let (input, output) = (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64());
        ensure!(input > Some(0) && output > Some(0), "{usage:#}");
        ensure!(
            usage["total_tokens"].as_u64() == input.zip(output).map(|(a, b)| a + b),
            "{usage:#}"
        );
        ensure!(
            body["object"] == "chat.completion" && body["choices"][0]["finish_reason"] == "stop",
            "{body:#}"
        );
        let asked = bed.providers().requests("anthropic").await?;
        let sent: Value = serde_json::from_str(asked[0]["body"].as_str().unwrap_or_default())?;
        ensure!(
            sent["system"].to_string().contains("be brief"),
            "the system prompt went as Anthropic wants it: {sent:#}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_tool_call_travels_both_ways() {
    test("tools", async |bed| {
        let app = bed.app("app").await?;
        let call = json!({"answer": {"tool_calls": [{"name": "set_sail", "arguments": {"knots": 7}}]}});
        bed.providers().always("anthropic", call).await?;
        let printed = app
            .python(
                "import json, openai\n\
                 tool = {'type': 'function', 'function': {'name': 'set_sail', 'description': 'sets sail',\n\
                 \x20 'parameters': {'type': 'object', 'properties': {'knots': {'type': 'integer'}}}}}\n\
                 answer = openai.OpenAI().chat.completions.create(model='gpt-5-mini', tools=[tool],\n\
                 \x20 messages=[{'role': 'user', 'content': 'go'}]).choices[0]\n\
                 call = answer.message.tool_calls[0].function\n\
                 print(json.dumps([answer.finish_reason, call.name, json.loads(call.arguments)]))",
            )
            .await?;
        let printed: Value = serde_json::from_str(&printed)?;
        ensure!(printed == json!(["tool_calls", "set_sail", {"knots": 7}]), "{printed}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_bad_request_is_the_callers_and_says_where() {
    test("badrequest", async |bed| {
        let app = bed.app("app").await?;
        let printed = app
            .python(
                "import json, os, urllib.request, urllib.error\n\
                 request = urllib.request.Request(os.environ['OPENAI_BASE_URL'] + '/chat/completions',\n\
                 \x20 data=b'{\"model\": 7, \"messages\": []}', headers={'content-type': 'application/json'})\n\
                 try: urllib.request.urlopen(request)\n\
                 except urllib.error.HTTPError as error: print(json.dumps([error.code, json.load(error)]))",
            )
            .await?;
        let printed: Value = serde_json::from_str(&printed)?;
        ensure!(printed[0] == 400, "{printed:#}");
        ensure!(
            printed[1]["error"]["message"].to_string().contains("model"),
            "{printed:#}"
        );
        ensure!(
            bed.providers().asked("anthropic").await? == 0,
            "no provider is bothered with it"
        );
        Ok(())
    })
    .await;
}

/// Posts as an SDK of another dialect would, and prints status and body.
const POST: &str = "
import json, os, sys, urllib.request, urllib.error
url, headers, body = os.environ[sys.argv[1]] + sys.argv[2], json.loads(sys.argv[3]), sys.argv[4].encode()
request = urllib.request.Request(url, data=body, headers={'content-type': 'application/json', **headers})
try: answer = urllib.request.urlopen(request)
except urllib.error.HTTPError as error: answer = error
print(json.dumps([answer.status, json.load(answer)]))
";

#[tokio::test]
async fn anthropics_and_googles_callers_reach_their_own_provider() {
    test("native", async |bed| {
        let app = bed.app("app").await?;
        let post = async |base: &str, path: &str, headers: Value, body: Value| {
            let (headers, body) = (headers.to_string(), body.to_string());
            let output = app
                .run(&["/usr/bin/python3", "-c", POST, base, path, &headers, &body])
                .await?;
            ensure!(output.ok, "{output:?}");
            Ok(serde_json::from_str::<Value>(&output.stdout)?)
        };
        let question = json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "metadata": {"user_id": "u1"},
            "messages": [{"role": "user", "content": "ahoy"}]});
        let version = json!({"anthropic-version": "2023-06-01", "x-api-key": "bowsprit"});
        let answer = post("ANTHROPIC_BASE_URL", "/v1/messages", version, question.clone()).await?;
        ensure!(answer[0] == 200 && answer[1]["type"] == "message", "{answer:#}");
        ensure!(
            answer[1]["content"][0]["text"] == "Hello from anthropic (claude-sonnet-4-5): ahoy",
            "{answer:#}"
        );
        let seen = bed.providers().requests("anthropic").await?;
        ensure!(
            seen[0]["body"].as_str() == Some(&question.to_string()),
            "byte for byte: {seen:#?}"
        );
        ensure!(seen[0]["key"] == "key-of-claude", "{seen:#?}");

        let path = "/v1beta/models/gemini-2.5-flash:generateContent";
        let question = json!({"contents": [{"role": "user", "parts": [{"text": "ahoy"}]}]});
        let answer = post(
            "GOOGLE_GEMINI_BASE_URL",
            path,
            json!({"x-goog-api-key": "bowsprit"}),
            question.clone(),
        )
        .await?;
        let text = &answer[1]["candidates"][0]["content"]["parts"][0]["text"];
        ensure!(
            answer[0] == 200 && *text == "Hello from gemini (gemini-2.5-flash): ahoy",
            "{answer:#}"
        );
        let seen = bed.providers().requests("gemini").await?;
        ensure!(
            seen[0]["body"].as_str() == Some(&question.to_string()) && seen[0]["key"] == "key-of-gemini",
            "{seen:#?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_model_route_decides_who_answers() {
    test("route", async |bed| {
        bed.apply(
            "
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: smart}
spec:
  match: {models: [\"smart-*\"]}
  targets: [{provider: gemini, model: gemini-2.5-flash}]
  fallback: [{provider: openai}]
",
        )
        .await?;
        bed.rendered(|text| text.contains("name: smart")).await?;
        let app = bed.app("app").await?;
        let answer = app
            .app(&["--sdk-retries", "0", "--model", "smart-sailor", "ahoy"])
            .await?;
        ensure!(
            answer.stdout.starts_with("Hello from gemini (gemini-2.5-flash)"),
            "{answer:?}"
        );
        bed.providers()
            .always("gemini", json!({"status": {"code": 500}}))
            .await?;
        let answer = app
            .app(&["--sdk-retries", "0", "--model", "smart-sailor", "ahoy"])
            .await?;
        ensure!(
            answer.stdout.starts_with("Hello from openai (gpt-5-mini)"),
            "{answer:?}"
        );
        let answer = app
            .app(&["--sdk-retries", "0", "--model", "nobody-has-this", "ahoy"])
            .await?;
        ensure!(!answer.ok && answer.stderr.contains("404"), "{answer:?}");
        ensure!(
            answer.stderr.contains("gpt-5-mini"),
            "it lists what is served: {answer:?}"
        );
        Ok(())
    })
    .await;
}
