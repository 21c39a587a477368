"""No SDK: the Responses API against OpenAI's published schema, plain and event by event."""
import json

from schema import SCHEMA, APIError, check, events, send
from serve import WORLD, serve

TOOLS = [
    {"type": "function", "name": t["name"], "description": t["description"], "parameters": t["schema"], "strict": False}
    for t in WORLD["tools"]
]
LOGPROBS = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
SHIP = {"format": {"type": "json_schema", "name": "ship", "strict": True, "schema": WORLD["schema"]}}
PATH = "/v1/responses"


def of_type():
    """The schema of each event, by the `type` that it says: sixty alternatives tell nothing of what is wrong."""
    names = [each["$ref"].rsplit("/", 1)[1] for each in SCHEMA["$defs"]["ResponseStreamEvent"]["anyOf"]]
    return {SCHEMA["$defs"][name]["properties"]["type"]["enum"][0]: name for name in names}


EVENTS = of_type()


def request(asked, **more):
    ask = {"role": "user", "content": WORLD["question"]}
    return {"model": asked["model"], "input": [ask], "max_output_tokens": WORLD["max_tokens"]} | more


def keep(outcome, value):
    """What an SDK's user reads of a response."""
    parts = [part for item in value["output"] if item["type"] == "message" for part in item["content"]]
    outcome["text"] = "".join(part["text"] for part in parts)
    outcome["logprobs"] = [(token["token"], token["logprob"]) for part in parts for token in part.get("logprobs") or []]
    incomplete = value["status"] == "incomplete"
    outcome["finish"] = value["incomplete_details"]["reason"] if incomplete else value["status"]
    outcome["tools"] = [
        {"id": item["call_id"], "name": item["name"], "arguments": json.loads(item["arguments"])}
        for item in value["output"]
        if item["type"] == "function_call"
    ]
    usage = value["usage"]
    cached = usage["input_tokens_details"]["cached_tokens"]
    outcome["usage"] = {"input": usage["input_tokens"], "output": usage["output_tokens"], "cached": cached}


def create(asked, outcome, **more):
    with send(asked, outcome, PATH, request(asked, **more)) as answer:
        value = json.load(answer)
    check(outcome, "Response", value)
    keep(outcome, value)


def stream(asked, outcome, **more):
    outcome |= {"text": "", "pieces": 0}
    with send(asked, outcome, PATH, request(asked, stream=True, **more)) as answer:
        for number, event in enumerate(events(answer)):
            kind = event["type"]
            check(outcome, EVENTS.get(kind, "ResponseStreamEvent"), event)
            if event["sequence_number"] != number:
                outcome.setdefault("schema", f"{kind} has the number {event['sequence_number']}, should be {number}")
            if kind == "error":
                raise APIError(event, None)
            if kind == "response.failed":
                raise APIError(event["response"]["error"], None)
            outcome["pieces"] += kind == "response.output_text.delta"
            if kind in ("response.completed", "response.incomplete"):
                keep(outcome, event["response"])
    if "finish" not in outcome:
        raise APIError({"message": "the stream ended without an end"}, None)


def structured(asked, outcome):
    create(asked, outcome, text=SHIP)
    outcome["parsed"] = json.loads(outcome["text"])


serve({
    "chat": create,
    "stream": stream,
    "stream_tools": lambda asked, outcome: stream(asked, outcome, tools=TOOLS),
    "tool": lambda asked, outcome: create(asked, outcome, tools=TOOLS),
    "structured": structured,
    "logprobs": lambda asked, outcome: create(asked, outcome, **LOGPROBS),
    "logprobs_streamed": lambda asked, outcome: stream(asked, outcome, **LOGPROBS),
    "usage_empty": lambda asked, outcome: create(asked, outcome, input=[]),
    "usage_model": lambda asked, outcome: create(asked | {"model": "no-such-model"}, outcome),
    "usage_path": lambda asked, outcome: send(asked, outcome, PATH + "/resp_1", method="DELETE"),
})
