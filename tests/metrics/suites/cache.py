"""What is used again: connections to providers, what providers read from and write to their own caches of prompts, and the last
good answers that the sidecar itself keeps for an outage."""

import concurrent.futures
import json

from proof import traffic as calls_of_proof
from proof.rig import call

from .calls import HELLO, Caller
from .stage import Stage, Within, provider, route, until

ABOUT = "connections used again, cached tokens of every API and their price, answers kept for an outage"

# Each reads and writes another amount, so that no two can be mixed up: model, provider, its API, how its usage is told.
PRICE = {"input": "2.00", "output": "8.00", "cacheRead": "0.50", "cacheWrite": "2.50"}
KINDS = ("input", "output", "cached", "cache_write")
# (model, provider, way of asking): what the provider is asked in, where the caller speaks its own API, and in another.
SPOKEN = (
    ("chat-1", "openai", "chat", {"input": 1001, "output": 11, "cached": 401}),
    ("responses-1", "openai", "responses", {"input": 1003, "output": 13, "cached": 403, "cache_write": 103}),
    ("messages-1", "claude", "messages", {"input": 1005, "output": 15, "cached": 405, "cache_write": 105}),
    ("contents-1", "gemini", "contents", {"input": 1007, "output": 17, "cached": 407}),
    ("chat-to-claude-1", "claude", "chat", {"input": 1009, "output": 19, "cached": 409, "cache_write": 109}),
    ("responses-to-claude-1", "claude", "responses", {"input": 1011, "output": 21, "cached": 411, "cache_write": 111}),
    ("contents-to-openai-1", "openai", "contents", {"input": 1013, "output": 23, "cached": 413}),
    ("messages-to-gemini-1", "gemini", "messages", {"input": 1015, "output": 25, "cached": 415}),
    ("cold-1", "claude", "messages", {"input": 1017, "output": 27}),
)
CONNECTIONS = "pool-1"
KEPT, TIGHT = "kept-1", "tight-1"


def documents(port):
    of = lambda name: [model for model, whose, _, _ in SPOKEN if whose == name]
    made = [provider(name, kind, port, 10, of(name)) for name, kind in (("openai", "OpenAI"), ("claude", "Anthropic"), ("gemini", "Gemini"))]
    for one in made:
        for model in one["spec"]["models"]:
            model["price"] = PRICE
    return [*made, *(route(model, (name, model)) for model, name, _, _ in SPOKEN)]


def prompts(programs, report, short):
    """Tokens and cost of what providers read from their caches and wrote to them, for each API, plain and streamed."""
    plain, streamed = (1, 1) if short else (5, 4)
    count = plain + streamed
    with Stage("cache", programs, report) as stage:
        stage.script({model: {"answer": {"text": "one two", "usage": usage}} for model, _, _, usage in SPOKEN})
        sidecar = stage.started(documents(stage.port))
        stage.scraped()
        caller = Caller(sidecar)
        for model, _, way, _ in SPOKEN:
            for stream, times in ((False, plain), (True, streamed)):
                for _ in range(times):
                    getattr(caller, way)(model, stream)
        stage.ended()
        for kind in KINDS:
            stage.counts("bowsprit_tokens_total", {model: count * usage.get(kind, 0) for model, _, _, usage in SPOKEN}, "model", f'kind="{kind}"')
        stage.counts("bowsprit_cost_usd_total", {model: count * cost(usage) for model, _, _, usage in SPOKEN}, "model", 'kind="reported"')
        whole = {name: sum(usage["input"] for _, whose, _, usage in SPOKEN if whose == name) for name in ("openai", "claude", "gemini")}
        read = {name: sum(usage.get("cached", 0) for _, whose, _, usage in SPOKEN if whose == name) for name in whole}
        stage.holds("share of input that was cached", 'sum by (provider) (bowsprit_tokens_total{kind="cached"}) / sum by (provider) (bowsprit_tokens_total{kind="input"})',
                    {name: read[name] / whole[name] for name in whole}, "provider")
        stage.nothing_else(("bowsprit_estimated_tokens_total", "bowsprit_cost_unknown_attempts_total"))


def cost(usage):
    read, written = usage.get("cached", 0), usage.get("cache_write", 0)
    return ((usage["input"] - read - written) * 2.00 + usage["output"] * 8.00 + read * 0.50 + written * 2.50) / 1e6


def connections(programs, report, _):
    """One after the other use one connection; those at a time open as many; one that was closed is not used again."""
    with Stage("cache", programs, report) as stage:
        answer = {"answer": {"text": "one"}}
        stage.script({CONNECTIONS: answer})
        documents = lambda turn: [provider("pool", "OpenAICompatible", stage.port, 10 + turn, [CONNECTIONS]), route(CONNECTIONS, ("pool", CONNECTIONS))]
        sidecar = stage.started(documents(0))
        stage.scraped()
        caller = Caller(sidecar)
        opened, reused = 0, 0

        def is_so(what, idle):
            until("the connections are idle", lambda: sidecar.metric("bowsprit_provider_connections_idle") == idle)
            stage.ended()
            stage.holds(f"{what}: opened", "bowsprit_provider_connections_opened_total", opened)
            stage.holds(f"{what}: reused", "bowsprit_provider_connections_reused_total", reused)
            stage.holds(f"{what}: idle", "bowsprit_provider_connections_idle", idle)
            seen = call(stage.control, "/counts")[1]
            stage.report.line("cache: connections that the provider saw", opened, *seen_connections(seen, opened))

        for _ in range(10):
            caller.chat(CONNECTIONS)
        opened, reused = 1, 9
        is_so("one after the other", 1)

        # Held until all are under way: none can take a connection that another has left.
        at_a_time = 6
        stage.script(steps=[(CONNECTIONS, at_a_time, {"answer": {"text": "one", "head_delay_ms": 1500}})])
        with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
            asks = [pool.submit(call, sidecar.port, "/v1/chat/completions", {"model": CONNECTIONS, "messages": HELLO}) for _ in range(at_a_time)]
            until("all are under way", lambda: sidecar.metric("bowsprit_provider_in_flight") == at_a_time)
            if [ask.result()[0] for ask in asks] != [200] * at_a_time:
                raise AssertionError("a parallel request was not answered")
        opened, reused = opened + at_a_time - 1, reused + 1
        is_so("six at a time", at_a_time)

        # The provider says that it closes, and the connection is not kept.
        stage.script(steps=[(CONNECTIONS, 1, {"answer": {"text": "one", "after": "close"}})])
        caller.chat(CONNECTIONS)
        reused += 1
        is_so("one that says it closes", at_a_time - 1)

        # A caller who leaves takes his connection with him, as nobody can tell what is still to come on it.
        stage.script(steps=[(CONNECTIONS, 1, {"answer": {"chunks": 400, "delay_ms": 50}})])
        calls_of_proof.left(sidecar, CONNECTIONS)
        reused += 1
        is_so("one whose caller left", at_a_time - 2)

        # Another configuration of the same provider goes on with the same connections.
        sidecar.configure(documents(1))
        until("the new configuration is taken", lambda: sidecar.metric("bowsprit_config_loaded_total") == 2)
        caller.chat(CONNECTIONS)
        reused += 1
        is_so("after a change of configuration", at_a_time - 2)


def seen_connections(text, opened):
    seen = json.loads(text)["connections"]
    return {"": seen}, None if seen == opened else f"other than the {opened} that were opened"


def stale(programs, report, short):
    """Answers that are kept, given while every candidate is down, and given up: every case is counted as what it is."""
    questions = 3 if short else 12
    usage = {"input": 10, "output": 2}
    with Stage("cache", programs, report) as stage:
        answer = {"answer": {"text": "one two", "usage": usage}}
        huge = {"answer": {"text": "word " * 4000, "usage": usage}}
        stage.script({KEPT: answer, TIGHT: huge})
        sidecar = stage.started([
            provider("kept", "OpenAICompatible", stage.port, 10, [KEPT, TIGHT], retry={"maxAttempts": 1}),
            route(KEPT, ("kept", KEPT), staleIfError={"maxAge": "1h", "maxBytes": 1048576}),
            # A quarter of a route's bound is the most that one answer may take.
            route(TIGHT, ("kept", TIGHT), staleIfError={"maxAge": "1h", "maxBytes": 65536}),
        ])
        stage.scraped()
        caller = Caller(sidecar)
        asks = lambda number, **more: caller.ask("/v1/chat/completions", {"model": KEPT, "messages": [{"role": "user", "content": f"question {number}"}]}, **more)
        told = [asks(number) for number in range(questions)]
        tools = {"tools": [{"type": "function", "function": {"name": "act", "parameters": {"type": "object"}}}]}
        caller.ask("/v1/chat/completions", {"model": KEPT, "messages": HELLO, **tools})
        caller.chat(TIGHT)
        stage.ended()
        # One after the other, each takes the place of the same question's: the last good one is kept.
        stage.counts("bowsprit_kept_answers_total", {"kept": questions, "unfit": 1, "too_large": 1}, "fate")
        stage.counts("bowsprit_kept_answers_held", {KEPT: questions}, "route")
        stage.counts("bowsprit_stale_answers_total", {}, "route result")
        stage.holds("bowsprit_kept_answers_bytes beyond the answers' own", f'bowsprit_kept_answers_bytes{{route="{KEPT}"}}', Within(sum(map(len, told)), sum(map(len, told)) + 4096 * questions))

        stage.script({KEPT: {"status": {"code": 503}}})
        if (again := [asks(number) for number in range(questions)]) != told:
            raise AssertionError(f"{again} was given, where {told} was kept")
        for number in range(questions, questions + 2):
            asks(number, status=503)
        stage.ended()
        stage.counts("bowsprit_stale_answers_total", {f"{KEPT} served": questions, f"{KEPT} none": 2}, "route result")
        stage.counts("bowsprit_kept_answers_total", {"kept": questions, "unfit": 1, "too_large": 1}, "fate")
        # What is given does not undo the outage: it is counted as what it would have been without.
        stage.counts("bowsprit_requests_total", {"ok": questions + 2, "provider_error": questions + 2}, "outcome")
        stage.counts("bowsprit_tokens_total", {kind: (questions + 2) * tokens for kind, tokens in usage.items()}, "kind")


def play(programs, report, short):
    prompts(programs, report, short)
    connections(programs, report, short)
    stale(programs, report, short)
