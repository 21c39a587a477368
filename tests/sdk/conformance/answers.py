"""What every SDK must get through the sidecar when all goes well, whichever provider is behind it."""
import json

from .scenario import (
    CALL, CALLS, PIECES, SHIP, TEXT, USAGE, WORLD, Scenario, answer, answered, calls, equal, kinds, loose, no_error,
    raised,
)
from . import rig, upstream

SIGNATURE = "c2lnbmVkIGJ5IHRoZSBtYWtlcg=="
LONG = 400
REFUSED = kinds("BadRequestError", "ClientError")
#: What the scripted providers say of a text's pieces.
LOGPROBS = [-0.125, -0.5, -0.25, -1.0]


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


def again(judge):
    """The second time nobody is asked, and the SDK makes of it what it made of the first: usage included, and marked as kept."""

    def judged(result):
        first = result.outcome.pop("first")
        judge(result)
        without_time = [{name: it for name, it in made.items() if name != "seconds"} for made in (result.outcome, first)]
        equal("what the SDK made of it", *without_time)
        one, other = result.tap.responses()
        equal("body", other.body, one.body)
        assert (one.header("cache-status") or "").endswith("fwd=miss"), one.header("cache-status")
        assert (other.header("cache-status") or "").startswith("bowsprit; hit; ttl="), other.header("cache-status")
        assert (other.header("x-bowsprit-cache") or "").startswith("hit; age="), other.header("x-bowsprit-cache")
        equal("attempts", other.header("x-bowsprit-attempts"), "0")

    return judged


def stream_long(result):
    filled = TEXT + "".join(f" tok{place}" for place in range(PIECES, LONG))
    answered(result, text=filled)
    equal("pieces", result.outcome["pieces"], LONG)


def system(result):
    answered(result)
    equal("system prompt", result.last["system"], [WORLD["system"]])
    equal("turns", result.last["turns"], [("user", WORLD["question"])])


def multi_turn(result):
    answered(result)
    first, second = WORLD["history"]
    equal("turns", result.last["turns"], [("user", first), ("assistant", second), ("user", WORLD["question"])])


def _called(result, made, wanted):
    equal("calls", [{"name": call["name"], "arguments": call["arguments"]} for call in made], wanted)
    ids = [call["id"] for call in made]
    if result.dialect != "gemini":
        assert all(ids) and len(set(ids)) == len(ids), f"call ids are not distinct: {ids}"


def tools_called(wanted):
    def judge(result):
        answered(result, text="", finish="tool_calls")
        _called(result, result.outcome["tools"], wanted)
        equal("tools", {name: loose(schema) for name, schema in result.last["tools"].items()},
              {tool["name"]: loose(tool["schema"]) for tool in WORLD["tools"]})

    return judge


def tool_forced(result):
    tools_called([CALL])(result)
    equal("the tool that must be called", result.last["forced"], CALL["name"])


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
    equal("schema", loose(schema), loose(WORLD["schema"]))


def image(result):
    answered(result)
    equal("images", result.last["images"], [WORLD["image"]])
    equal("turns", result.last["turns"], [("user", WORLD["question"])])


def image_url(result):
    answered(result)
    equal("addresses of images", result.last["image_urls"], [WORLD["image_url"]])


def stop(result):
    answered(result)
    equal("stop sequences", result.last["stop"], WORLD["stop"])


def length(result):
    answered(result, finish="length")


def signature(result):
    """The proof of a thought comes back to the provider that made it, through any dialect between."""
    answered(result, requests=2)
    equal("calls in the history", [(name, arguments) for _, name, arguments in result.last["calls"]],
          [(CALL["name"], CALL["arguments"])])
    if result.provider != "openai" or result.dialect == "responses":
        equal("signatures at their maker", result.last["signatures"], [SIGNATURE])


def prompt_cache(result):
    if result.dialect == "gemini" and not result.same:
        # The name of a cache stands for the beginning of the prompt: without it the question is another one.
        return raised(result, REFUSED, 400, "cachedContent")
    answered(result)
    equal("usage", result.outcome["usage"], USAGE)
    asked = json.loads(result.requests[0]["body"])
    if result.same and result.dialect == "anthropic":
        equal("cache_control", [block.get("cache_control") for block in asked["system"]], [{"type": "ephemeral"}])
    elif result.same and result.dialect == "gemini":
        equal("cachedContent", asked["cachedContent"], "cachedContents/crew")
    elif result.same:
        equal("prompt_cache_key", asked["prompt_cache_key"], "crew")


def seed(result):
    answered(result)
    equal("seed", result.last["seed"], None if result.provider == "anthropic" else 7)
    if result.provider == "anthropic":
        assert "seed" in result.warned(), "the caller is not told that the seed went nowhere"


def logprobs(result):
    if result.provider == "anthropic":
        return raised(result, REFUSED, 400, "og")  # Anthropic has none: told, not left out in silence
    answered(result)
    wanted = [[piece, LOGPROBS[place % len(LOGPROBS)]] for place, piece in enumerate(TEXT.replace(" ", " \0").split("\0"))]
    equal("logprobs", [list(pair) for pair in result.outcome["logprobs"]], wanted)


def choices(result):
    if result.provider == "anthropic":
        raised(result, REFUSED, 400)
        return equal("requests at the provider", len(result.requests), 0)
    no_error(result)
    equal("texts", result.outcome["choices"], [TEXT, TEXT])
    equal("requests at the provider", len(result.requests), 1)


def untouched(result):
    """To a provider of the caller's own API the body goes byte for byte, fields that nobody knows included."""
    answered(result)
    sent, arrived = result.tap.requests()[0], result.requests[0]
    equal("body at the provider", arrived["body"].encode(), sent.body)
    assert json.loads(sent.body)["x_future"] == WORLD["x_future"], "the SDK did not send the field"
    equal("header x-crew", upstream.header(arrived, "x-crew"), "aloft")


def models(result):
    no_error(result)
    equal("models", result.outcome["models"], rig.models(result.provider))


def count_tokens(result):
    no_error(result)
    equal("tokens", result.outcome["tokens"], USAGE["input"])
    equal("requests at the provider", [request["operation"] for request in result.requests], ["count_tokens"])


def embeddings(result):
    """Two texts, 256 numbers each: the same numbers whichever dialect they come through."""
    if result.provider == "anthropic":
        return raised(result, kinds("APIStatusError", "APIError", openai_node="APIError", openai_schema="APIError"))
    no_error(result)
    asked = {"model": "any", "input": WORLD["history"], "dimensions": 256}
    wanted = [item["embedding"] for item in result.providers.direct("/v1/embeddings", asked)["data"]]
    got = result.outcome["vectors"]
    equal("sizes", [len(vector) for vector in got], [256, 256])
    off = max(abs(one - other) for mine, theirs in zip(got, wanted) for one, other in zip(mine, theirs))
    assert off < 1e-6, f"the numbers differ by up to {off}"


CACHED = {"cache": {"ttl": "1h", "maxBytes": 1048576, "temperature": "Any"}}
SAME = "the bytes are translated for a provider of another API"

SCENARIOS = [
    Scenario("chat", chat, [answer(usage=USAGE)]),
    Scenario("stream", stream, [answer(usage=USAGE)]),
    Scenario("chat_cached", again(chat), [answer(usage=USAGE)], request="chat", route=CACHED, twice=True, tap=True,
             only=("openai", "anthropic", "gemini")),
    Scenario("stream_cached", again(stream), [answer(usage=USAGE)], request="stream", route=CACHED, twice=True, tap=True,
             only=("openai", "anthropic", "gemini")),
    Scenario("stream_long", stream_long, [answer(chunks=LONG, pings=1)], request="stream"),
    Scenario("system", system, [answer()]),
    Scenario("multi_turn", multi_turn, [answer()]),
    Scenario("tool", tools_called([CALL]), [calls([CALL])]),
    Scenario("tool_forced", tool_forced, [calls([CALL])]),
    Scenario("tools_parallel", tools_called(CALLS), [calls(CALLS)], request="tool"),
    Scenario("tools_streamed", tools_called(CALLS), [calls(CALLS)], request="stream_tools"),
    Scenario("tool_result", tool_result, [calls(CALLS), answer()]),
    Scenario("structured", structured, [answer(text=json.dumps(SHIP))]),
    Scenario("structured_streamed", structured, [answer(text=json.dumps(SHIP))]),
    Scenario("image", image, [answer()]),
    Scenario("image_url", image_url, [answer()]),
    Scenario("stop", stop, [answer()], only=("openai", "anthropic", "gemini")),
    Scenario("length", length, [answer(finish="length")], request="chat"),
    Scenario("thinking", stream, [answer(usage=USAGE, thinking="Bows, spars...")], request="stream"),
    Scenario("thinking_kept", signature, [calls([CALL], thinking="A tool, then.", signature=SIGNATURE), answer()]),
    Scenario("prompt_cache", prompt_cache, [answer(usage=USAGE)]),
    Scenario("seed", seed, [answer()], tap=True, only=("openai", "gemini")),
    Scenario("logprobs", logprobs, [answer()], only=("openai", "responses", "gemini")),
    Scenario("logprobs_streamed", logprobs, [answer()], only=("openai", "responses", "gemini")),
    Scenario("choices", choices, [answer()], only=("openai", "gemini")),
    Scenario("choices_streamed", choices, [answer()], only=("openai", "gemini")),
    Scenario("pings", stream, [answer(usage=USAGE, pings=2, write_bytes=7)], request="stream"),
    Scenario("untouched", untouched, [answer()], tap=True, same_only=SAME),
    Scenario("models", models, only=("openai", "anthropic", "gemini")),
    Scenario("count_tokens", count_tokens, [answer(usage=USAGE)], only=("responses", "anthropic", "gemini")),
    Scenario("embeddings", embeddings, only=("openai", "gemini")),
]
