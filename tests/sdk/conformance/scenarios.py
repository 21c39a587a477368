"""What every SDK must get through the sidecar, whichever provider is behind it.

A scenario is: what the providers do (`script`), what the client is told (`retries`), what the sidecar is configured with
(`spec`), and `judge`, which raises AssertionError where the outcome or the provider's view of the request is wrong.
"""
import dataclasses
import json
import pathlib
import typing

from . import rig, upstream

WORLD = json.loads((pathlib.Path(__file__).resolve().parent.parent / "world.json").read_text())
TEXT = "A spar that runs out over the bow."
PIECES = len(TEXT.split())
USAGE = {"input": 120, "output": 30, "cached": 100}
CALL = {"name": "get_weather", "arguments": {"place": "Kiel"}}
CALLS = [CALL, {"name": "get_tide", "arguments": {"place": "Cuxhaven"}}]
SHIP = {"name": "Gorch Fock", "masts": 3}

#: How each API says why an answer ended; Gemini has no word of its own for a tool call.
FINISH = {
    "openai": {"stop": "stop", "tool_calls": "tool_calls", "length": "length"},
    "anthropic": {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"},
    "gemini": {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"},
}


@dataclasses.dataclass
class Result:
    """What a judge sees of one cell of the table."""

    outcome: dict  #: what the SDK made of it
    requests: list  #: what the provider received, as recorded
    dialect: str  #: the client's
    provider: str
    providers: rig.Providers

    @property
    def same(self):
        return self.dialect == self.provider

    @property
    def last(self):
        return upstream.read(self.requests[-1])


@dataclasses.dataclass
class Scenario:
    name: str
    judge: typing.Callable[[Result], None]
    steps: list = dataclasses.field(default_factory=list)
    request: str = ""  #: the client's function, where it is not named like the scenario
    spec: dict = dataclasses.field(default_factory=dict)
    retries: int = 0
    only: tuple = ()  #: the dialects that have it
    same_only: str = ""  #: why it is for a provider of the caller's own API only
    skip: dict = dataclasses.field(default_factory=dict)  #: client, or (client, provider): why not


def equal(what, got, want):
    assert got == want, f"{what} is {got!r}, should be {want!r}"


def answered(result, text=TEXT, finish="stop", requests=1):
    outcome = result.outcome
    assert "error" not in outcome, f"the SDK raised {outcome['error']['class']}: {outcome['error']['message']}"
    equal("text", outcome["text"], text)
    equal("finish", outcome["finish"], FINISH[result.dialect][finish])
    equal("requests at the provider", len(result.requests), requests)


def chat(result):
    answered(result)
    equal("question", result.last["turns"], [("user", WORLD["question"])])
    equal("max tokens", result.last["max_tokens"], WORLD["max_tokens"])
    equal("usage", result.outcome["usage"], USAGE)


def stream(result):
    answered(result)
    equal("usage", result.outcome["usage"], USAGE)
    equal("pieces", result.outcome["pieces"], PIECES)
    assert result.requests[0]["stream"], "the provider was not asked for a stream"


def system(result):
    answered(result)
    equal("system prompt", result.last["system"], [WORLD["system"]])
    equal("turns", result.last["turns"], [("user", WORLD["question"])])


def multi_turn(result):
    answered(result)
    first, second = WORLD["history"]
    equal("turns", result.last["turns"], [("user", first), ("assistant", second), ("user", WORLD["question"])])


def _loose(schema):
    """A JSON schema without what Gemini's own schema language writes otherwise."""
    if isinstance(schema, dict):
        lower = {"type": schema["type"].lower()} if isinstance(schema.get("type"), str) else {}
        kept = {key: _loose(value) for key, value in schema.items() if key in ("type", "properties", "required", "items")}
        if "properties" in kept:
            kept["properties"] = {name: _loose(value) for name, value in schema["properties"].items()}
        return kept | lower
    return schema


def _called(result, calls, wanted):
    equal("calls", [{"name": call["name"], "arguments": call["arguments"]} for call in calls], wanted)
    ids = [call["id"] for call in calls]
    if result.dialect != "gemini":
        assert all(ids) and len(set(ids)) == len(ids), f"call ids are not distinct: {ids}"


def tools_called(wanted):
    def judge(result):
        answered(result, text="", finish="tool_calls")
        _called(result, result.outcome["tools"], wanted)
        equal("tools", {n: _loose(s) for n, s in result.last["tools"].items()},
              {tool["name"]: _loose(tool["schema"]) for tool in WORLD["tools"]})

    return judge


def tool_result(result):
    answered(result, requests=2)
    _called(result, result.outcome["called"], CALLS)
    equal("calls in the history", [(name, arguments) for _, name, arguments in result.last["calls"]],
          [(call["name"], call["arguments"]) for call in CALLS])
    # By id, or for Gemini by name.
    keys = [name if result.provider == "gemini" else id_ for id_, name, _ in result.last["calls"]]
    texts = [WORLD["results"][call["name"]] for call in CALLS]
    if result.dialect == "gemini" and not result.same:
        # A Gemini result is an object; where results are text it goes as its JSON.
        texts = [json.dumps({"result": text}, separators=(",", ":")) for text in texts]
    equal("results", result.last["results"], list(zip(keys, texts)))


def structured(result):
    answered(result, text=json.dumps(SHIP))
    equal("parsed", result.outcome["parsed"], SHIP)
    schema = result.last["schema"]
    assert schema, "the provider was given no schema"
    equal("schema", _loose(schema), _loose(WORLD["schema"]))


def image(result):
    answered(result)
    equal("images", result.last["images"], [WORLD["image"]])
    equal("turns", result.last["turns"], [("user", WORLD["question"])])


def stop(result):
    answered(result)
    equal("stop sequences", result.last["stop"], WORLD["stop"])


def length(result):
    answered(result, finish="length")


def raised(result, classes, status=None, says=""):
    error = result.outcome.get("error")
    assert error, f"the SDK raised nothing: {result.outcome}"
    # The wanted class itself, or one that `except` with it would catch.
    assert classes[result.dialect] in error["bases"], f"{error['class']} is no {classes[result.dialect]}: {error['message']}"
    if status:
        assert error["status"] in (status if isinstance(status, tuple) else (status,)), f"status is {error['status']}: {error['message']}"
    assert says in error["message"], f"the message does not say {says!r}: {error['message']}"


def kinds(shared, gemini):
    return {"openai": shared, "anthropic": shared, "gemini": gemini}


SERVER = kinds("InternalServerError", "ServerError")
# The SDKs' own timeout: named apart in Python, Node and google-genai.
TIMEOUT = {"openai": "APIConnectionError", "anthropic": "APIConnectionError", "gemini": "TimeoutException"}
BROKEN = kinds("APIError", "APIError")


def error(status, classes, kind=None, seen=None):
    """A provider's error of this status; `seen`: the status where the provider speaks another API than the caller."""
    says = f"no more of {status}"

    def judge(result):
        raised(result, classes, status if result.same else seen or status, says)
        equal("requests at the provider", len(result.requests), 1)

    do = {"status": {"code": status, "message": says} | ({"kind": kind} if kind else {})}
    return Scenario(f"error_{status}", judge, [{"do": do}], request="chat")


def stream_broken(after):
    def judge(result):
        raised(result, BROKEN)
        begun = result.outcome["pieces"]
        equal("pieces before the error", begun, after)

    return judge


def error_before_content(result):
    raised(result, SERVER)
    equal("requests at the provider", len(result.requests), 1)


def cancelled(result):
    counts = result.providers.wait_for(lambda counts: counts["cancelled"])
    equal("responses cut upstream", len(counts["cancelled"]), 1)


def timeout(result):
    raised(result, TIMEOUT)
    equal("requests at the provider", len(result.requests), 1)
    cancelled(result)


def cancel(result):
    assert "error" not in result.outcome, result.outcome["error"]
    assert result.outcome["pieces"] >= 1, "nothing was streamed before the cancel"
    cancelled(result)


def provider_silent(code):
    def judge(result):
        raised(result, SERVER, 504, code)
        cancelled(result)

    return judge


def retried(result):
    answered(result, requests=3)
    if result.same and result.dialect != "gemini":
        counts = [dict(map(lambda pair: (pair[0].lower(), pair[1]), seen["headers"])).get("x-stainless-retry-count") for seen in result.requests]
        equal("x-stainless-retry-count", counts, ["0", "1", "2"])


def retries_used_up(result):
    raised(result, SERVER)
    equal("requests at the provider", len(result.requests), 3)


def not_retried(result):
    raised(result, SERVER, 502)
    equal("requests at the provider", len(result.requests), 1)


def retried_by_sidecar(result):
    answered(result, requests=2)


def models(result):
    assert "error" not in result.outcome, result.outcome["error"]
    equal("models", result.outcome["models"], [rig.MODELS[result.provider]])


def counted(field):
    def judge(result):
        assert "error" not in result.outcome, result.outcome["error"]
        assert result.outcome[field] > 0, result.outcome

    return judge


def answer(**says):
    return {"do": {"answer": {"text": TEXT} | says}}


def broken(fault):
    return [answer(fault=fault)]


def status(code, times=1, **more):
    return {"times": times, "do": {"status": {"code": code, "retry_after_ms": 50} | more}}


OWN = "sent on only to a provider of the caller's API"
NO_COMMENTS = {("google-genai python", "gemini"): "this SDK cannot read the comments that the script puts in; Gemini sends none"}
NO_HEADER = {"google-genai python": "this SDK does not read x-should-retry"}

SCENARIOS = [
    Scenario("chat", chat, [answer(usage=USAGE)]),
    Scenario("stream", stream, [answer(usage=USAGE)]),
    Scenario("system", system, [answer()]),
    Scenario("multi_turn", multi_turn, [answer()]),
    Scenario("tool", tools_called([CALL]), [{"do": {"answer": {"tool_calls": [CALL]}}}]),
    Scenario("tools_parallel", tools_called(CALLS), [{"do": {"answer": {"tool_calls": CALLS}}}], request="tool"),
    Scenario("tools_streamed", tools_called(CALLS), [{"do": {"answer": {"tool_calls": CALLS}}}], request="stream_tools"),
    Scenario("tool_result", tool_result, [{"do": {"answer": {"tool_calls": CALLS}}}, answer()]),
    Scenario("structured", structured, [{"do": {"answer": {"text": json.dumps(SHIP)}}}]),
    Scenario("image", image, [answer()]),
    Scenario("stop", stop, [answer()]),
    Scenario("length", length, [answer(finish="length")], request="chat"),
    Scenario("thinking", stream, [answer(usage=USAGE, thinking="Bows, spars...")], request="stream"),
    Scenario("pings", stream, [answer(usage=USAGE, pings=2, write_bytes=7)], request="stream", skip=NO_COMMENTS),
    error(400, kinds("BadRequestError", "ClientError")),
    error(401, kinds("AuthenticationError", "ClientError")),
    error(403, kinds("PermissionDeniedError", "ClientError")),
    error(404, kinds("NotFoundError", "ClientError")),
    error(429, kinds("RateLimitError", "ClientError")),
    error(500, SERVER, seen=502),
    error(529, SERVER, seen=503),
    Scenario("error_in_stream", stream_broken(2), broken({"error_event": {"after": 2, "code": 529}}), request="stream"),
    Scenario("error_before_content", error_before_content, broken({"error_event": {"after": 0, "code": 529}}), request="stream"),
    Scenario("stream_truncated", stream_broken(2), broken({"truncated_chunked": {"after": 2}}), request="stream"),
    Scenario("stream_no_end", stream_broken(PIECES), broken("no_end_marker"), request="stream"),
    Scenario("timeout_of_sdk", timeout, [{"do": "hang"}], request="timeout"),
    Scenario("timeout_total", provider_silent("timeouts.total"), [{"do": "hang"}], request="chat", spec={"timeouts": {"total": "1s"}}),
    Scenario("timeout_first_token", provider_silent("timeouts.firstToken"), [answer(first_delay_ms=20000)], request="stream",
             spec={"timeouts": {"firstToken": "1s"}}),
    Scenario("cancel", cancel, [answer(chunks=100, delay_ms=100)]),
    Scenario("retries_of_sdk", retried, [status(503, 2), answer()], request="chat", retries=2),
    Scenario("retries_used_up", retries_used_up, [status(503, 9)], request="chat", retries=2),
    Scenario("retry_forbidden", not_retried, [{"times": 9, "do": {"redirect": "http://127.0.0.1:1/"}}], request="chat", retries=2, skip=NO_HEADER),
    Scenario("retry_of_sidecar", retried_by_sidecar, [status(503), answer()], request="chat",
             spec={"retry": {"maxAttempts": 2, "backoff": {"base": "10ms"}}}),
    Scenario("models", models),
    Scenario("count_tokens", counted("tokens"), only=("anthropic", "gemini"), same_only=OWN),
    Scenario("embeddings", counted("numbers"), only=("openai", "gemini"), same_only=OWN),
]

#: What the client without an SDK asks, to hold the bytes against OpenAI's schema.
WITH_SCHEMA = {
    "chat", "stream", "tool", "tools_parallel", "tools_streamed", "length", "thinking", "pings",
    "error_400", "error_401", "error_403", "error_404", "error_429", "error_500", "error_529",
    "error_in_stream", "error_before_content", "stream_truncated", "timeout_total", "timeout_first_token", "models",
}
