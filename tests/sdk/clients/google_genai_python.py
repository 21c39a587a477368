"""The official `google-genai` package."""
import base64

from google import genai
from google.genai import types
from pydantic import BaseModel
from serve import WORLD, serve

TOOLS = [
    types.Tool(function_declarations=[
        types.FunctionDeclaration(name=t["name"], description=t["description"], parameters_json_schema=t["schema"])
        for t in WORLD["tools"]
    ])
]
KEPT = []
ASK = types.Content(role="user", parts=[types.Part(text=WORLD["question"])])


class Ship(BaseModel):
    name: str
    masts: int


def client(asked, **more):
    # Its retries are off unless asked for; the first delay is an option, so the tests need not wait.
    retry = types.HttpRetryOptions(attempts=asked["retries"] + 1, initial_delay=0.05, jitter=0) if asked["retries"] else None
    options = types.HttpOptions(base_url=asked["url"], retry_options=retry, **more)
    # Kept: a client that is collected closes its connections, even while `client.models` is in use.
    KEPT[:] = [genai.Client(api_key=asked["key"], http_options=options)]
    return KEPT[0]


def config(**more):
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(max_output_tokens=WORLD["max_tokens"], automatic_function_calling=off, **more)


def add(outcome, answer):
    """An answer, or one piece of it."""
    for candidate in answer.candidates or []:
        outcome["finish"] = candidate.finish_reason.value if candidate.finish_reason else outcome["finish"]
        for part in (candidate.content and candidate.content.parts) or []:
            if part.text and not part.thought:
                outcome["text"] += part.text
                outcome["pieces"] += 1
            if part.function_call:
                call = part.function_call
                outcome["tools"].append({"id": call.id, "name": call.name, "arguments": call.args or {}})
    if usage := answer.usage_metadata:
        outcome["usage"] = {
            "input": usage.prompt_token_count,
            "output": (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            "cached": usage.cached_content_token_count or 0,
        }
    return answer


def create(asked, outcome, contents=(ASK,), **more):
    outcome |= {"text": "", "pieces": 0, "tools": [], "finish": None}
    answer = client(asked).models.generate_content(model=asked["model"], contents=list(contents), config=config(**more))
    return add(outcome, answer)


def stream(asked, outcome, **more):
    outcome |= {"text": "", "pieces": 0, "tools": [], "finish": None}
    one = client(asked)
    answers = one.models.generate_content_stream(model=asked["model"], contents=[ASK], config=config(**more))
    for answer in answers:
        add(outcome, answer)
        if "logprobs" in outcome:
            outcome["logprobs"] += chosen(answer)
        if outcome["pieces"] and asked["scenario"] == "cancel":
            answers.close()
            one.close()
            return


def structured_streamed(asked, outcome):
    stream(asked, outcome, response_mime_type="application/json", response_schema=Ship)
    outcome["parsed"] = Ship.model_validate_json(outcome["text"]).model_dump()


def multi_turn(asked, outcome):
    first, second = WORLD["history"]
    turns = [types.Content(role=role, parts=[types.Part(text=text)]) for role, text in [("user", first), ("model", second)]]
    create(asked, outcome, [*turns, ASK])


def tool_result(asked, outcome):
    answer = create(asked, outcome, tools=TOOLS)
    called = outcome["tools"]
    parts = [
        types.Part(function_response=types.FunctionResponse(
            id=call["id"], name=call["name"], response={"result": WORLD["results"][call["name"]]}))
        for call in called
    ]
    create(asked, outcome, [ASK, answer.candidates[0].content, types.Content(role="user", parts=parts)], tools=TOOLS)
    outcome["called"] = called


def tool_forced(asked, outcome):
    names = [WORLD["tools"][0]["name"]]
    calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=names)
    create(asked, outcome, tools=TOOLS, tool_config=types.ToolConfig(function_calling_config=calling))


def thinking_kept(asked, outcome):
    more = {"tools": TOOLS, "thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)}
    answer = create(asked, outcome, **more)
    [call] = outcome["tools"]
    result = types.FunctionResponse(id=call["id"], name=call["name"], response={"result": WORLD["results"][call["name"]]})
    parts = [types.Part(function_response=result)]
    create(asked, outcome, [ASK, answer.candidates[0].content, types.Content(role="user", parts=parts)], **more)


def logprobs(asked, outcome):
    answer = create(asked, outcome, response_logprobs=True, logprobs=2)
    outcome["logprobs"] = chosen(answer)


def logprobs_streamed(asked, outcome):
    outcome["logprobs"] = []
    stream(asked, outcome, response_logprobs=True, logprobs=2)


def chosen(answer):
    result = answer.candidates[0].logprobs_result if answer.candidates else None
    return [(token.token, token.log_probability) for token in (result and result.chosen_candidates) or []]


def texts(answer):
    def text(candidate):
        return "".join(part.text or "" for part in (candidate.content and candidate.content.parts) or [])

    return {candidate.index or 0: text(candidate) for candidate in answer.candidates or []}


def choices(asked, outcome):
    answer = client(asked).models.generate_content(model=asked["model"], contents=[ASK], config=config(candidate_count=2))
    outcome["choices"] = [text for _, text in sorted(texts(answer).items())]


def choices_streamed(asked, outcome):
    whole = {}
    one = client(asked)
    for answer in one.models.generate_content_stream(
        model=asked["model"], contents=[ASK], config=config(candidate_count=2)
    ):
        for index, text in texts(answer).items():
            whole[index] = whole.get(index, "") + text
    outcome["choices"] = [text for _, text in sorted(whole.items())]


def structured(asked, outcome):
    answer = create(asked, outcome, response_mime_type="application/json", response_schema=Ship)
    outcome["parsed"] = answer.parsed.model_dump()


def image(asked, outcome):
    data = base64.b64decode(WORLD["image"]["data"])
    part = types.Part.from_bytes(data=data, mime_type=WORLD["image"]["media_type"])
    create(asked, outcome, [types.Content(role="user", parts=[types.Part(text=WORLD["question"]), part])])


def image_url(asked, outcome):
    part = types.Part.from_uri(file_uri=WORLD["image_url"], mime_type=WORLD["image"]["media_type"])
    create(asked, outcome, [types.Content(role="user", parts=[types.Part(text=WORLD["question"]), part])])


def untouched(asked, outcome):
    options = types.HttpOptions(extra_body={"x_future": WORLD["x_future"]}, headers={"x-crew": "aloft"})
    create(asked, outcome, http_options=options)


def timeout(asked, outcome):
    milliseconds = int(WORLD["timeout_seconds"] * 1000)
    client(asked, timeout=milliseconds).models.generate_content(model=asked["model"], contents=[ASK])


def models(asked, outcome):
    outcome["models"] = [model.name.removeprefix("models/") for model in client(asked).models.list()]


def count_tokens(asked, outcome):
    outcome["tokens"] = client(asked).models.count_tokens(model=asked["model"], contents=[ASK]).total_tokens


def embeddings(asked, outcome):
    size = types.EmbedContentConfig(output_dimensionality=256)
    answer = client(asked).models.embed_content(model=asked["embedding_model"], contents=WORLD["history"], config=size)
    outcome["vectors"] = [each.values for each in answer.embeddings]


serve({
    "chat": create,
    "stream": stream,
    "stream_tools": lambda asked, outcome: stream(asked, outcome, tools=TOOLS),
    "system": lambda asked, outcome: create(asked, outcome, system_instruction=WORLD["system"]),
    "multi_turn": multi_turn,
    "tool": lambda asked, outcome: create(asked, outcome, tools=TOOLS),
    "tool_forced": tool_forced,
    "tool_result": tool_result,
    "thinking_kept": thinking_kept,
    "structured": structured,
    "structured_streamed": structured_streamed,
    "image": image,
    "image_url": image_url,
    "prompt_cache": lambda asked, outcome: create(asked, outcome, cached_content="cachedContents/crew"),
    "seed": lambda asked, outcome: create(asked, outcome, seed=7),
    "logprobs": logprobs,
    "logprobs_streamed": logprobs_streamed,
    "choices": choices,
    "choices_streamed": choices_streamed,
    "untouched": untouched,
    "stop": lambda asked, outcome: create(asked, outcome, stop_sequences=WORLD["stop"]),
    "timeout": timeout,
    "cancel": stream,
    "models": models,
    "count_tokens": count_tokens,
    "embeddings": embeddings,
    "usage_empty": lambda asked, outcome: create(asked, outcome, [types.Content(role="user", parts=[])]),
    "usage_model": lambda asked, outcome: create(asked | {"model": "no-such-model"}, outcome),
    "usage_path": lambda asked, outcome: list(client(asked).files.list()),
})
