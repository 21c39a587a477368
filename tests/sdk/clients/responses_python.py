"""The official `openai` package, its Responses API."""
import json

import openai
from pydantic import BaseModel
from serve import WORLD, serve

TOOLS = [
    {"type": "function", "name": t["name"], "description": t["description"], "parameters": t["schema"], "strict": False}
    for t in WORLD["tools"]
]
ASK = {"role": "user", "content": WORLD["question"]}


class Ship(BaseModel):
    name: str
    masts: int


def client(asked, **more):
    more = {"max_retries": asked["retries"]} | more
    return openai.OpenAI(base_url=asked["url"] + "/v1", api_key=asked["key"], **more)


def request(asked, messages=(ASK,), **more):
    return {"model": asked["model"], "input": list(messages), "max_output_tokens": WORLD["max_tokens"]} | more


def keep(outcome, answer):
    outcome["text"] = answer.output_text
    incomplete = answer.incomplete_details and answer.incomplete_details.reason
    outcome["finish"] = incomplete if answer.status == "incomplete" else answer.status
    outcome["tools"] = [
        {"id": item.call_id, "name": item.name, "arguments": json.loads(item.arguments)}
        for item in answer.output
        if item.type == "function_call"
    ]
    usage = answer.usage
    cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else 0
    outcome["usage"] = {"input": usage.input_tokens, "output": usage.output_tokens, "cached": cached}
    return answer


def create(asked, outcome, messages=(ASK,), **more):
    return keep(outcome, client(asked).responses.create(**request(asked, messages, **more)))


def stream(asked, outcome, **more):
    outcome |= {"text": "", "pieces": 0}
    with client(asked).responses.stream(**request(asked, **more)) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                outcome["text"] += event.delta
                outcome["pieces"] += 1
                if asked["scenario"] == "cancel":
                    return
            # This SDK hands an error of the stream on as an event; its users raise it.
            if event.type == "error":
                raise openai.APIError(event.message, None, body=None)
            if event.type == "response.failed":
                raise openai.APIError(event.response.error.message, None, body=None)
        final = events.get_final_response()
    keep(outcome, final)


def multi_turn(asked, outcome):
    first, second = WORLD["history"]
    create(asked, outcome, [{"role": "user", "content": first}, {"role": "assistant", "content": second}, ASK])


def results(answer):
    """The outputs of the tools that were called."""
    return [
        {"type": "function_call_output", "call_id": item.call_id, "output": WORLD["results"][item.name]}
        for item in answer.output
        if item.type == "function_call"
    ]


def tool_result(asked, outcome):
    answer = create(asked, outcome, tools=TOOLS)
    called = outcome["tools"]
    create(asked, outcome, [ASK, *answer.output, *results(answer)], tools=TOOLS)
    outcome["called"] = called


def thinking_kept(asked, outcome):
    # Without a store the reasoning travels with the conversation, encrypted.
    more = {"tools": TOOLS, "store": False, "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low"}}
    answer = create(asked, outcome, **more)
    create(asked, outcome, [ASK, *answer.output, *results(answer)], **more)


def structured(asked, outcome):
    answer = client(asked).responses.parse(**request(asked), text_format=Ship)
    keep(outcome, answer)
    outcome["parsed"] = answer.output_parsed.model_dump()


def structured_streamed(asked, outcome):
    with client(asked).responses.stream(**request(asked), text_format=Ship) as events:
        answer = events.get_final_response()
    keep(outcome, answer)
    outcome["parsed"] = answer.output_parsed.model_dump()


def picture(asked, outcome, url):
    parts = [{"type": "input_text", "text": WORLD["question"]}, {"type": "input_image", "image_url": url, "detail": "auto"}]
    create(asked, outcome, [{"role": "user", "content": parts}])


def image(asked, outcome):
    picture(asked, outcome, f"data:{WORLD['image']['media_type']};base64,{WORLD['image']['data']}")


LOGPROBS = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}


def keep_logprobs(outcome, answer):
    parts = [part for item in answer.output if item.type == "message" for part in item.content]
    outcome["logprobs"] = [(token.token, token.logprob) for part in parts for token in part.logprobs or []]


def logprobs(asked, outcome):
    keep_logprobs(outcome, create(asked, outcome, **LOGPROBS))


def logprobs_streamed(asked, outcome):
    with client(asked).responses.stream(**request(asked, **LOGPROBS)) as events:
        answer = events.get_final_response()
    keep(outcome, answer)
    keep_logprobs(outcome, answer)


def timeout(asked, outcome):
    client(asked, timeout=WORLD["timeout_seconds"]).responses.create(**request(asked))


def count_tokens(asked, outcome):
    answer = client(asked).responses.input_tokens.count(model=asked["model"], input=[ASK])
    outcome["tokens"] = answer.input_tokens


serve({
    "chat": create,
    "stream": stream,
    "stream_tools": lambda asked, outcome: stream(asked, outcome, tools=TOOLS),
    "system": lambda asked, outcome: create(asked, outcome, instructions=WORLD["system"]),
    "multi_turn": multi_turn,
    "tool": lambda asked, outcome: create(asked, outcome, tools=TOOLS),
    "tool_forced": lambda asked, outcome: create(
        asked, outcome, tools=TOOLS, tool_choice={"type": "function", "name": TOOLS[0]["name"]}
    ),
    "tool_result": tool_result,
    "thinking_kept": thinking_kept,
    "structured": structured,
    "structured_streamed": structured_streamed,
    "image": image,
    "image_url": lambda asked, outcome: picture(asked, outcome, WORLD["image_url"]),
    "prompt_cache": lambda asked, outcome: create(asked, outcome, prompt_cache_key="crew"),
    "logprobs": logprobs,
    "logprobs_streamed": logprobs_streamed,
    "untouched": lambda asked, outcome: create(
        asked, outcome, extra_body={"x_future": WORLD["x_future"]}, extra_headers={"x-crew": "aloft"}
    ),
    "count_tokens": count_tokens,
    "timeout": timeout,
    "cancel": stream,
    "usage_empty": lambda asked, outcome: client(asked).responses.create(model=asked["model"], input=[]),
    "usage_model": lambda asked, outcome: create(asked | {"model": "no-such-model"}, outcome),
    "usage_path": lambda asked, outcome: client(asked).responses.delete("resp_1"),
})
