"""What a real agent needs of its gateway: the protocol of Claude Code, and its work done with any provider behind.

The wire between agent and sidecar is tapped: what a provider of the agent's own API receives is compared with what the
agent sent, byte for byte.
"""
import json

from .scenario import TEXT, WORLD, Scenario, answer, equal
from . import rig, upstream

#: Headers of one connection, and those that say who asks or where.
HOP = {"connection", "host", "content-length", "accept-encoding", "x-api-key", "authorization", "transfer-encoding", "keep-alive"}
OURS = {"x-request-id", "traceparent"}
SIGNATURE = "c2lnbmVkIGJ5IHRoZSBtYWtlcg=="
NOTE = "wind: " + WORLD["results"]["get_weather"]


def finished(result, text=TEXT):
    """The agent ended as it does when all is well, with this as its last word."""
    outcome = result.outcome
    assert "error" not in outcome, f"the agent did not run: {outcome['error']['message']}"
    assert outcome["results"], f"the agent gave no result, exit status {outcome['exit']}: {outcome['said']}"
    last = outcome["results"][-1]
    equal("result", (last["subtype"], last["is_error"], last["result"]), ("success", False, text))
    equal("exit status", outcome["exit"], 0)


def asked(result, count):
    """The requests for an answer that reached the provider, and what each held."""
    seen = asked_of(result, ("chat",))
    equal("requests at the provider", len(seen), count)
    return seen


def asked_of(result, operations):
    return [request for request in result.requests if request["operation"] in operations]


def untouched(result, seen, changed=lambda body: body):
    """To a provider of the agent's own API everything goes as it was sent, but for the key and what `changed` changes."""
    if not result.same:
        return
    sent = [message for message in result.tap.requests() if message.start.startswith("POST")]
    equal("requests", len(seen), len(sent))
    left = list(sent)
    for request in seen:
        body, path = request["body"].encode(), request["path"]
        twin = next((message for message in left if changed(message.body) == body and f" {path} " in message.start), None)
        assert twin, f"the body for {path} is not what the agent sent ({len(body)} bytes)"
        left.remove(twin)
        kept = {(name.lower(), value) for name, value in request["headers"]}
        lost = [(name, value) for name, value in twin.headers if name not in HOP and (name, value) not in kept]
        equal("headers that were lost", lost, [])
        names = {name for name, _ in twin.headers} | HOP | OURS
        equal("headers that were added", [name for name, _ in kept if name not in names], [])


def prompt(result):
    finished(result)
    (request,) = asked(result, 1)
    # The agent tells the model of its surroundings, too, before the question or after it.
    asked_for = [text for role, text in result.last["turns"] if role == "user" and WORLD["question"] in text]
    equal("turns with the question", len(asked_for), 1)
    assert result.last["system"], "the system prompt is lost"
    assert request["stream"], "the agent streams; the provider was not asked to"
    untouched(result, [request])
    if result.same:
        protocol(request)


def protocol(request):
    """What Claude Code's own API gets of it; `untouched` says that nothing of it was changed."""
    assert request["path"].endswith("/v1/messages?beta=true"), f"the path is {request['path']}"
    betas = upstream.header(request, "anthropic-beta") or ""
    assert "claude-code-" in betas, f"anthropic-beta is {betas!r}"
    equal("anthropic-version", upstream.header(request, "anthropic-version"), "2023-06-01")
    assert upstream.header(request, "x-claude-code-session-id"), "the session id is lost"
    cached = [block for block in json.loads(request["body"])["system"] if block.get("cache_control")]
    assert cached, "no system block says what to cache"


def token(result):
    """With ANTHROPIC_AUTH_TOKEN the agent sends a bearer token: it stays at the sidecar as any key does."""
    finished(result)
    (sent,) = [message for message in result.tap.requests() if message.start.startswith("POST")]
    equal("authorization", sent.header("authorization"), "Bearer " + rig.CLIENT_KEY)
    untouched(result, asked(result, 1))


def extra(result):
    prompt(result)
    (request,) = result.requests
    if result.same:
        equal("a field from the future", json.loads(request["body"])["x_future"], WORLD["x_future"])
        equal("x-crew", upstream.header(request, "x-crew"), "aloft")
        assert "bowsprit-2099-01-01" in upstream.header(request, "anthropic-beta"), "a beta was lost"


def pings(result):
    prompt(result)
    if result.same:
        streamed = b"".join(message.body for message in result.tap.responses())
        assert streamed.count(b"event: ping") > len(TEXT.split()), "the provider's pings did not reach the agent"


def outputs(result):
    return [block["content"] for block in result.outcome["blocks"] if block.get("type") == "tool_result"]


def tool(result):
    """One round: the model wants a command run, the agent runs it and reports, the model has the last word."""
    finished(result)
    seen = asked(result, 2)
    equal("what the command left", result.outcome["files"].get("made"), "ahoy 42\n")
    equal("outputs", outputs(result), ["ahoy 42"])
    (output,) = [text for _, text in result.last["results"]]
    # To a Claude the agent adds how many tokens are left.
    assert output.startswith("ahoy 42"), f"the output at the provider is {output!r}"
    untouched(result, seen)


def tools_parallel(result):
    finished(result)
    seen = asked(result, 2)
    first, second = (text for _, text in result.last["results"])
    assert "ahoy 42" in first and NOTE in second, f"the outputs at the provider are {first!r} and {second!r}"
    equal("calls in the history", [name for _, name, _ in result.last["calls"]], ["Bash", "Read"])
    untouched(result, seen)


def thinking(result):
    """A signed thought before the tool call goes back to its maker with the tool's output."""
    tool(result)
    if result.provider != "openai":
        equal("signatures at their maker", result.last["signatures"], [SIGNATURE])


def waits(result, *statuses):
    equal("the agent's own retries", [event["error_status"] for event in result.outcome["waits"]], list(statuses))


def overloaded(result):
    """The agent tries again by itself, by the word of its API, whoever the provider is."""
    finished(result)
    waits(result, 529)
    untouched(result, asked(result, 2))


def overloaded_hidden(result):
    """The sidecar may try again: then the agent never knows."""
    finished(result)
    waits(result)
    asked(result, 2)


def rate_limited(result):
    """`retry-after` reaches the agent in whole seconds, also from Gemini, which says it in its body."""
    finished(result)
    waits(result, 429)
    assert result.outcome["waits"][0]["retry_delay_ms"] >= 1000, f"the agent waited {result.outcome['waits'][0]}"
    told = [message.header("retry-after") for message in result.tap.responses() if " 429 " in message.start + " "]
    equal("retry-after", told, ["1"])
    asked(result, 2)


def broken_stream(result):
    """A stream that breaks is not taken for an answer: the agent asks again, without a stream."""
    finished(result)
    equal("streamed", [request["stream"] for request in asked(result, 2)], [True, False])


def refused(result):
    """A key that the provider refuses: the agent stops at once and says so."""
    outcome = result.outcome
    assert outcome["results"], f"the agent gave no result: {outcome['said']}"
    last = outcome["results"][-1]
    equal("is_error", last["is_error"], True)
    equal("status that the agent saw", last["api_error_status"], 401)
    asked(result, 1)


def count_tokens(result):
    """`/context` counts every part of a prompt: some thirty requests at a time."""
    finished(result, result.outcome["results"][-1]["result"] if result.outcome.get("results") else "")
    sent = [message for message in result.tap.requests() if "/count_tokens?beta=true" in message.start]
    assert len(sent) > 5, f"the agent asked only {len(sent)} times for a count"
    wrong = [message.start for message in result.tap.responses() if " 200 " not in message.start + " "]
    equal("answers that are no count", wrong, [])
    untouched(result, [request for request in result.requests if request["operation"] == "count_tokens"])


BASH = {"name": "Bash", "arguments": {"command": "echo ahoy $((6 * 7)) | tee made", "description": "Says ahoy"}}
READ = {"name": "Read", "arguments": {"file_path": "log.txt"}}


def calls(*wanted, **says):
    return {"do": {"answer": {"tool_calls": list(wanted)} | says}}


def failed(code, **more):
    return {"do": {"status": {"code": code} | more}}


TWICE = {"retry": {"maxAttempts": 2, "backoff": {"base": "10ms"}}}

SCENARIOS = [
    Scenario("agent_prompt", prompt, [answer()], request="prompt"),
    Scenario("agent_token", token, [answer()], request="token"),
    Scenario("agent_unknown_fields", extra, [answer()], request="extra"),
    Scenario("agent_pings", pings, [answer(pings=2, delay_ms=5, write_bytes=11)], request="prompt"),
    Scenario("agent_tool", tool, [calls(BASH), answer()], request="work"),
    Scenario("agent_tools_parallel", tools_parallel, [calls(BASH, READ), answer()], request="work"),
    Scenario("agent_thinking", thinking, [calls(BASH, thinking="A command, then.", signature=SIGNATURE), answer()], request="work"),
    Scenario("agent_overloaded", overloaded, [failed(529), answer()], request="prompt"),
    Scenario("agent_retry_of_sidecar", overloaded_hidden, [failed(529), answer()], request="prompt", spec=TWICE),
    Scenario("agent_rate_limited", rate_limited, [failed(429, retry_after_ms=1000), answer()], request="prompt"),
    Scenario("agent_stream_broken", broken_stream, [answer(fault={"truncated_chunked": {"after": 2}}), answer()], request="prompt"),
    Scenario("agent_error_in_stream", broken_stream, [answer(fault={"error_event": {"after": 2, "code": 529}}), answer()],
             request="prompt"),
    Scenario("agent_key_refused", refused, [failed(401)], request="prompt"),
    Scenario("agent_count_tokens", count_tokens, request="count_tokens"),
]
for each in SCENARIOS:
    each.tap = True
