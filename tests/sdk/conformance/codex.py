"""What OpenAI's agent needs of its provider: the Responses API as Codex speaks it, and its work done with any provider behind.

The wire between agent and sidecar is tapped. To a provider of OpenAI's API the bytes go as the agent sent them, but for the
model's name where that is an alias. To the others goes the same conversation: both are read into one form and compared.
"""
import json

from . import agent, rig, upstream
from .agent import SIGNATURE, failed
from .scenario import TEXT, USAGE, WORLD, Scenario, equal, answer as plain

#: Names of models that the agent knows: what it offers to each is another thing. Every provider has them as aliases.
MODELS = {"newest": "gpt-6.2-sol", "older": "gpt-5.5"}
NOTE = "wind: calm"


def events(result, kind):
    return [event for event in result.outcome["events"] if event["type"] == kind]


def items(result, kind):
    """What the agent did: messages, thoughts, commands, changes of files, calls."""
    return [event["item"] for event in events(result, "item.completed") if event["item"]["type"] == kind]


def ended(result, last, status):
    outcome = result.outcome
    assert "error" not in outcome, f"the agent did not run: {outcome['error']['message']}"
    assert outcome["events"], f"the agent said nothing, exit status {outcome['exit']}: {outcome['said']}"
    final = outcome["events"][-1]
    equal("last event", (final["type"], outcome["exit"]), (last, status))
    return final


def finished(result, rounds=None, text=TEXT):
    """The agent ended as it does when all is well, with this as its last word and the tokens of all rounds counted."""
    final = ended(result, "turn.completed", 0)
    equal("last word", items(result, "agent_message")[-1]["text"], text)
    if rounds:
        names = {"input_tokens": "input", "output_tokens": "output", "cached_input_tokens": "cached"}
        counted = {ours: final["usage"][name] for name, ours in names.items()}
        equal("usage", counted, {name: count * rounds for name, count in USAGE.items()})


def gave_up(result, says):
    final = ended(result, "turn.failed", 1)
    message = final["error"]["message"]
    assert says in message, f"the agent does not say {says!r}: {message}"


def tries(result, *says):
    """Each time that the agent told its user that it has to ask again, it said why."""
    told = [event["message"] for event in events(result, "error")]
    equal("times that it tried again", len(told), len(says))
    for message, words in zip(told, says):
        assert words in message, f"the agent does not say {words!r}: {message}"


def sent(result):
    return [message for message in result.tap.requests() if message.start.startswith("POST")]


def asked(result, count):
    """The requests that reached the provider, each what the agent sent."""
    seen = agent.asked_of(result, ("chat", "responses"))
    equal("requests at the provider", len(seen), count)
    if result.same:
        agent.untouched(result, seen, renamed)
    elif len(seen) == len(sent(result)):
        for ours, theirs in zip(sent(result), seen):
            carried(ours, theirs)
    return seen


def renamed(body):
    """An alias becomes the model's own name; that is all that may change."""
    for alias in MODELS.values():
        field = b'{"model":"%s",' % alias.encode()
        if body.startswith(field):
            return b'{"model":"%s",' % rig.MODELS["openai"].encode() + body.removeprefix(field)
    return body


def squeezed(texts):
    return "".join("".join(texts).split())


def carried(message, recorded):
    """The conversation at a provider of another API is the one that the agent sent."""
    ours = upstream.read({"api": "openai", "operation": "responses", "body": message.body})
    theirs = upstream.read(recorded)
    assert recorded["stream"], "the agent streams; the provider was not asked to"
    lost = sorted(set(ours["tools"]) - set(theirs["tools"]))
    equal("tools that were lost", lost, [])
    for what in ("calls", "results"):
        # Not every API has ids, and Gemini pairs a result with its call by name.
        equal(f"{what} in the history", [entry[1:] for entry in theirs[what]], [entry[1:] for entry in ours[what]])
    equal("pictures", theirs["images"], ours["images"])
    equal("system prompt", squeezed(theirs["system"]), squeezed(ours["system"]))
    for role in ("user", "assistant"):
        said = [squeezed(text for who, text in side["turns"] if who == role) for side in (theirs, ours)]
        equal(f"what the {role} said", *said)


def prompt(result):
    finished(result, 1)
    (request,) = asked(result, 1)
    text = [text for role, text in result.last["turns"] if role == "user" and WORLD["question"] in text]
    equal("turns with the question", len(text), 1)
    if result.same:
        protocol(request)


def protocol(request):
    """What OpenAI's own API gets of it; `untouched` says that nothing of it was changed."""
    assert request["path"].endswith("/v1/responses"), f"the path is {request['path']}"
    equal("originator", upstream.header(request, "originator"), "codex_exec")
    for name in ("session-id", "thread-id", "x-codex-turn-metadata"):
        assert upstream.header(request, name), f"the header {name} is lost"


def builtin(result):
    """The agent's own provider, with another address: it tries a WebSocket first, and is told at once to do without."""
    prompt(result)
    equal("what it did first", [message.start.split()[0] for message in result.tap.requests()], ["GET", "POST"])
    tries(result)


def searches(result):
    """The agent may search the web by a tool of OpenAI's: a provider that has a like one gets it, else the agent is told."""
    prompt(result)
    offered = [tool["type"] for tool in json.loads(sent(result)[0].body)["tools"]]
    assert "web_search" in offered, f"the agent offered {offered}"
    if result.same:
        equal("warning", result.warned(), "")
        return
    body = json.loads(result.requests[-1]["body"])
    kept = "web_search" in json.dumps([tool.get("type") for tool in body["tools"]]) or "googleSearch" in json.dumps(body["tools"])
    place = f"tools[{offered.index('web_search')}]"
    assert kept or place in result.warned(), f"{place} is lost, and the warning says {result.warned()!r}"


def told(result, text):
    """The results of tools at the provider."""
    outputs = [output for _, output in result.last["results"]]
    assert any(text in output for output in outputs), f"no result at the provider has {text!r}: {outputs}"


def command(result, rounds=2):
    """One round: the model wants a command run, the agent runs it and reports, the model has the last word."""
    finished(result, rounds)
    asked(result, rounds)
    equal("what the command left", result.outcome["files"].get("made"), "ahoy 42\n")
    equal("outputs", [item["aggregated_output"] for item in items(result, "command_execution")], ["ahoy 42\n"])
    told(result, "ahoy 42")


def parallel(result):
    finished(result, 2)
    asked(result, 2)
    first, second = (output for _, output in result.last["results"])
    assert "ahoy 42" in first and NOTE in second, f"the outputs at the provider are {first!r} and {second!r}"


def thinking(result):
    """A signed thought before the call goes back to its maker with the tool's output."""
    command(result)
    equal("thoughts", [item["text"] for item in items(result, "reasoning")], ["A command, then."])
    equal("signatures at their maker", result.last["signatures"], [SIGNATURE])


def patched(result, rounds=2):
    finished(result, rounds)
    asked(result, rounds)
    equal("the file", result.outcome["files"]["log.txt"], "wind: a fresh breeze\n")
    changes = [change["kind"] for item in items(result, "file_change") for change in item["changes"]]
    equal("changes", changes, ["update"])


def rounds(result):
    """Thoughts, texts and calls of all kinds, turn after turn: the last request holds all of it, in order."""
    patched(result, 5)
    equal("calls in the history", [name for _, name, _ in result.last["calls"]],
          ["exec_command", "exec_command", "exec_command", "apply_patch", "exec_command"])
    told(result, "wind: a fresh breeze")
    said = squeezed(text for role, text in result.last["turns"] if role == "assistant")
    equal("what was said between", said, squeezed(["Two at once.", "Now the file."]))


def program(result):
    """The newest models write a program that calls the tools: one custom tool, in a namespace, for all that there is."""
    finished(result, 3)
    asked(result, 3)
    equal("what the command left", result.outcome["files"].get("made"), "ahoy 42\n")
    equal("the file", result.outcome["files"]["log.txt"], "wind: a fresh breeze\n")
    told(result, "ahoy 42")


def namespaced(result):
    """The tools of a server that the user named are in a namespace; the call must come back with it, or nothing is called."""
    finished(result, 2)
    asked(result, 2)
    done = [(item["server"], item["tool"], item["arguments"], item["status"]) for item in items(result, "mcp_tool_call")]
    equal("calls", done, [("port", "get_tide", {"place": "Kiel"}, "completed")])
    told(result, WORLD["results"]["get_tide"])


def deferred(result):
    """Tools that the agent keeps back until the model looks for them: the search is the agent's, under every provider."""
    finished(result, 3)
    asked(result, 3)
    done = [(item["tool"], item["status"]) for item in items(result, "mcp_tool_call")]
    equal("calls", done, [("get_tide", "completed")])
    told(result, WORLD["results"]["get_tide"])


def picture(result):
    finished(result, 1)
    asked(result, 1)
    equal("pictures", result.last["images"], [WORLD["image"]])


def picture_of_tool(result):
    finished(result, 2)
    asked(result, 2)
    equal("pictures", result.last["images"], [WORLD["image"]])


def schema(result):
    finished(result, 1, json.dumps({"name": "Gorch Fock", "masts": 3}))
    asked(result, 1)
    wanted = result.last["schema"]
    equal("schema", sorted(wanted["properties"]), sorted(WORLD["schema"]["properties"]))


def resumed(result):
    """A session that is taken up again: the second run sends what the first one heard."""
    finished(result)
    asked(result, 2)
    said = [text for role, text in result.last["turns"] if role == "assistant"]
    equal("what the assistant said", squeezed(said), squeezed([WORLD["history"][1]]))


def compacted(result):
    """At its limit of tokens the agent asks for a summary, and goes on with that."""
    finished(result, 3)
    asked(result, 3)
    equal("results in the last request", result.last["results"], [])
    assert any("A summary." in text for _, text in result.last["turns"]), "the summary is not in the last request"


def again(result):
    """The agent asks again by itself, and says nothing of it."""
    finished(result, 1)
    tries(result)
    asked(result, 2)


def hidden(result):
    """The sidecar asks again: then the agent never knows."""
    finished(result, 1)
    equal("requests of the agent", len(sent(result)), 1)
    equal("requests at the provider", len(result.requests), 2)


def fallback(result):
    """The first provider has no room, the second, of another kind, answers; the agent never knows."""
    finished(result, 1)
    equal("requests of the agent", len(sent(result)), 1)
    equal("who was asked", [request["api"] for request in result.requests], [result.provider, rig.after(result.provider)])


def rate_limited(result):
    finished(result, 1)
    tries(result, "429")
    asked(result, 2)
    told = [message.header("retry-after") for message in result.tap.responses() if " 429 " in message.start + " "]
    equal("retry-after", told, ["1"])


def refused(result):
    """A key that the provider refuses: the agent asks again all the same, and by then the sidecar has set the key aside."""
    gave_up(result, "no usable key")
    assert "401" in events(result, "error")[0]["message"], f"the agent saw no 401: {events(result, 'error')}"
    equal("requests at the provider", len(result.requests), 1)


def too_long(result):
    """The agent reads `error.code`: only that tells it not to ask again, and its user what to do."""
    gave_up(result, "ran out of room in the model's context window")
    asked(result, 1)


def no_credit(result):
    gave_up(result, "Quota exceeded")
    asked(result, 1)


def broken(result):
    """A stream that breaks is not taken for an answer: the agent asks again, and half a text is nowhere."""
    finished(result, 1)
    equal("messages", [item["text"] for item in items(result, "agent_message")], [TEXT])
    tries(result, "Reconnecting")
    equal("requests at the provider", len(result.requests), 2)


def broken_call(result):
    """A call that breaks off is not run. Gemini's comes in one piece: there it breaks before the call."""
    finished(result)
    equal("what the command left", result.outcome["files"].get("made"), "ahoy 42\n")
    equal("commands", len(items(result, "command_execution")), 1)
    equal("requests at the provider", len(result.requests), 3)


def cut_short(result):
    gave_up(result, "max_output_tokens")
    asked(result, 1)


def answer(text=TEXT, **says):
    return plain(text=text, usage=USAGE, **says)


def status(code, **more):
    return {"status": {"code": code} | more}


def call(name, arguments=None, namespace=None, text=None, search=False):
    """A call as OpenAI's API has it, and as the others, where it is a function's."""
    grouped = ({"namespace": namespace} if namespace else {}) | ({"search": True} if search else {})
    told = {"input": text} if text else {"arguments": arguments}
    flat = f"{namespace}__{name}" if namespace else name
    return {"name": name, **grouped, **told}, {"name": flat, **told}


def calls(*wanted, broken=None, **says):
    """A step for each kind of provider; only one of them is taken. `broken`: after how many pieces, by API."""
    def act(api):
        made = [grouped if api == "openai" else plain for grouped, plain in wanted]
        fault = {"fault": {"truncated_chunked": {"after": broken[api]}}} if broken else {}
        return {"answer": {"tool_calls": made, "usage": USAGE} | says | fault}

    return by_api(**{api: act(api) for api in rig.KINDS})


def by_api(**does):
    return [{"when": {"api": api}, "do": act} for api, act in does.items()]


SHELL = call("exec_command", {"cmd": "echo ahoy $((6 * 7)) | tee -a made"})
READ = call("exec_command", {"cmd": "cat log.txt"})
PATCH = "*** Begin Patch\n*** Update File: log.txt\n@@\n-wind: calm\n+wind: a fresh breeze\n*** End Patch\n"
EDIT = call("apply_patch", text=PATCH)
LIST = call("exec_command", {"cmd": "ls"})
RUN = 'const done = await tools.exec_command({cmd: "echo ahoy $((6 * 7)) | tee made"}); text(done.output);'
RUN_EDIT = f"text(await tools.apply_patch({json.dumps(PATCH)}));"
LOOK = call("view_image", {"path": "flag.png"})
TIDE = call("get_tide", {"place": "Kiel"}, namespace="mcp__port")
FIND = call("tool_search", {"query": "tide at a place"}, search=True)
THOUGHT = {"thinking": "A command, then.", "signature": SIGNATURE}
TOO_LONG = by_api(
    openai=status(400, kind="context_length_exceeded"),
    anthropic=status(400, message="prompt is too long: 210000 tokens > 200000 maximum"),
    gemini=status(400, message="The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
)
NO_CREDIT = by_api(
    openai=status(429, kind="insufficient_quota"),
    anthropic=status(400, message="Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to "
                     "upgrade or purchase credits."),
    gemini=status(429, message="Your prepayment credits are depleted. Please go to AI Studio to manage your billing."),
)
TWICE = {"retry": {"maxAttempts": 2, "backoff": {"base": "10ms"}}}
HALF = {"truncated_chunked": {"after": 2}}
IN_CALL = {"openai": 2, "anthropic": 1, "gemini": 0}

SCENARIOS = [
    Scenario("codex_prompt", prompt, [answer()], request="newest"),
    Scenario("codex_prompt_older", searches, [answer()], request="older"),
    Scenario("codex_prompt_unknown_model", searches, [answer()], request="unknown"),
    Scenario("codex_builtin_provider", builtin, [answer()], request="builtin"),
    Scenario("codex_tool", command, [*calls(SHELL), answer()], request="unknown"),
    Scenario("codex_tools_parallel", parallel, [*calls(SHELL, READ), answer()], request="older"),
    Scenario("codex_thinking", thinking, [*calls(SHELL, **THOUGHT), answer()], request="older"),
    Scenario("codex_patch", patched, [*calls(EDIT), answer()], request="older"),
    Scenario("codex_program", program, [*calls(call("exec", text=RUN, namespace="functions")),
             *calls(call("exec", text=RUN_EDIT, namespace="functions")), answer()],
             request="newest"),
    Scenario("codex_rounds", rounds, [*calls(SHELL, **THOUGHT), *calls(READ, LIST, text="Two at once."),
             *calls(EDIT, text="Now the file."), *calls(READ), answer()], request="older"),
    Scenario("codex_namespace", namespaced, [*calls(TIDE), answer()], request="port"),
    Scenario("codex_deferred_tools", deferred, [*calls(FIND), *calls(TIDE), answer()], request="deferred"),
    Scenario("codex_picture", picture, [answer()], request="picture"),
    Scenario("codex_picture_of_tool", picture_of_tool, [*calls(LOOK), answer()], request="older"),
    Scenario("codex_schema", schema, [answer(json.dumps({"name": "Gorch Fock", "masts": 3}))], request="schema"),
    Scenario("codex_resumed", resumed, [answer(WORLD["history"][1]), answer()], request="resumed"),
    Scenario("codex_compacted", compacted, [*calls(SHELL), answer("A summary."), answer()], request="compacted"),
    Scenario("codex_overloaded", again, [failed(529), answer()], request="older"),
    Scenario("codex_retry_of_sidecar", hidden, [failed(529), answer()], request="older", spec=TWICE),
    Scenario("codex_fallback", fallback, [failed(529), answer()], request="older", spare=True),
    Scenario("codex_rate_limited", rate_limited, [failed(429, retry_after_ms=1000), answer()], request="older"),
    Scenario("codex_key_refused", refused, [failed(401)], request="impatient"),
    Scenario("codex_context_length", too_long, TOO_LONG, request="older"),
    Scenario("codex_no_credit", no_credit, NO_CREDIT, request="older"),
    Scenario("codex_stream_broken", broken, [answer(fault=HALF), answer()], request="older"),
    Scenario("codex_error_in_stream", broken, [answer(fault={"error_event": {"after": 2, "code": 529}}), answer()],
             request="older"),
    Scenario("codex_call_broken", broken_call, [*calls(SHELL, broken=IN_CALL), *calls(SHELL), answer()], request="older"),
    Scenario("codex_length", cut_short, [answer(finish="length")], request="older"),
]
for scenario in SCENARIOS:
    scenario.tap = True
