"""The same clients with aimock behind the sidecar: do the translations fit somebody else's reading of the APIs?

aimock takes fixtures, not steps: the first that fits a request answers it. It writes every request down as a chat
completion, so one reader does for all providers. What it cannot say (usage, for one) is not asked of it.
"""
import json

from . import codes
from .failures import BROKEN, SERVER
from .scenario import (
    CALLS, FINISH, SHIP, TEXT, WORLD, Scenario, answered, equal, kinds, loose, raised,
)

LIMIT = kinds("RateLimitError", "ClientError")


def fixture(response, match=None, **more):
    return {"match": match or {}, "response": response} | more


def says(text=TEXT, **more):
    return fixture({"content": text}, chunkSize=4, **more)


def fails(code, **more):
    return fixture({"error": {"message": f"no more of {code}"} | more, "status": code})


WANTED = [{"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in CALLS]
TOOLS = fixture({"toolCalls": WANTED}, {"hasToolResult": False})


def messages(result, place=-1):
    """(role, text) of a request as aimock understood it."""

    def text(content):
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])

    said = result.requests[place]["body"]["messages"]
    return [(message["role"], text(message.get("content"))) for message in said]


def chat(result):
    answered(result)
    equal("messages", messages(result), [("user", WORLD["question"])])


def stream(result):
    answered(result)
    assert result.outcome["pieces"] > 1, "the text came in one piece"


def system(result):
    answered(result)
    equal("messages", messages(result), [("system", WORLD["system"]), ("user", WORLD["question"])])


def multi_turn(result):
    answered(result)
    first, second = WORLD["history"]
    equal("messages", messages(result), [("user", first), ("assistant", second), ("user", WORLD["question"])])


def tools(result):
    if result.dialect == "gemini" and result.same:
        # aimock's own word for it, which Gemini does not have; it passes through.
        equal("finish", result.outcome.pop("finish"), "FUNCTION_CALL")
        result.outcome["finish"] = FINISH["gemini"]["tool_calls"]
    answered(result, text="", finish="tool_calls")
    called = [{"name": call["name"], "arguments": call["arguments"]} for call in result.outcome["tools"]]
    equal("calls", called, CALLS)
    given = {tool["function"]["name"]: tool["function"].get("parameters") for tool in result.requests[0]["body"]["tools"]}
    # Of Gemini's two fields for a tool's schema aimock reads the older; then there is only the name to compare.
    wanted = {tool["name"]: loose(tool["schema"]) if given.get(tool["name"]) else None for tool in WORLD["tools"]}
    equal("tools", {name: loose(schema) for name, schema in given.items()}, wanted)


def tool_result(result):
    answered(result, requests=2)
    said = messages(result)
    outputs = [text for role, text in said if role == "tool"]
    equal("tool outputs", len(outputs), len(CALLS))
    for call, output in zip(CALLS, outputs):
        assert WORLD["results"][call["name"]] in output, f"the output of {call['name']} is {output!r}"


def structured(result):
    answered(result, text=json.dumps(SHIP))
    equal("parsed", result.outcome["parsed"], SHIP)


def error(code, classes, ours, **more):
    """aimock takes an error's type from the fixture; `more`: Anthropic's word for it, by which it tells errors apart."""

    def judge(result):
        raised(result, classes, code if result.same else None, f"no more of {code}")
        if not result.same:
            codes.says(result, ours)
        equal("requests at the provider", len(result.requests), 1)

    return Scenario(f"aimock_{code}", judge, [fails(code, **more)], request="chat")


def malformed(result):
    problem = result.outcome.get("error")
    assert problem, f"an answer that is no JSON was taken for one: {result.outcome}"


def dropped(result):
    raised(result, SERVER)


def slow(result):
    raised(result, SERVER, 504, "timeouts.total")


def broken(result):
    raised(result, BROKEN)
    assert result.outcome["pieces"] >= 1, "nothing of the stream arrived before it broke"
    assert result.outcome["text"] != TEXT, "the whole text arrived"


ONE_SECOND = {"timeouts": {"total": "1s"}}

SCENARIOS = [
    Scenario("aimock_chat", chat, [says()], request="chat"),
    Scenario("aimock_stream", stream, [says()], request="stream"),
    Scenario("aimock_system", system, [says()], request="system"),
    Scenario("aimock_multi_turn", multi_turn, [says()], request="multi_turn"),
    Scenario("aimock_tools", tools, [TOOLS], request="tool"),
    Scenario("aimock_tools_streamed", tools, [TOOLS], request="stream_tools"),
    Scenario("aimock_tool_result", tool_result, [TOOLS, says()], request="tool_result"),
    Scenario("aimock_structured", structured, [says(json.dumps(SHIP))], request="structured"),
    Scenario("aimock_structured_streamed", structured, [says(json.dumps(SHIP))], request="structured_streamed"),
    Scenario("aimock_thinking", stream, [fixture({"content": TEXT, "reasoning": "Bows, spars..."}, chunkSize=8)], request="stream"),
    error(400, kinds("BadRequestError", "ClientError"), "VAL_PROVIDER_REFUSED", type="invalid_request_error"),
    error(429, LIMIT, "RATE_PROVIDER", type="rate_limit_error"),
    error(500, SERVER, "EXT_SERVER_ERROR"),
    error(529, SERVER, "EXT_OVERLOADED", type="overloaded_error"),
    Scenario("aimock_stream_cut", broken, [says(truncateAfterChunks=8, latency=20)], request="stream"),
    Scenario("aimock_chaos_latency", slow, [says(chaos={"latencyMs": 20000})], request="chat", spec=ONE_SECOND),
    Scenario("aimock_chaos_drop", dropped, [says(chaos={"dropRate": 1})], request="chat"),
    Scenario("aimock_chaos_malformed", malformed, [says(chaos={"malformedRate": 1})], request="chat"),
    Scenario("aimock_chaos_disconnect", dropped, [says(chaos={"disconnectRate": 1})], request="chat"),
    Scenario("aimock_chaos_rate_limit", lambda result: raised(result, LIMIT, 429), [says(chaos={"rateLimitRate": 1})], request="chat"),
]
