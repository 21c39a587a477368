"""Everything that fails and what is done about it: retries, fallbacks, breakers that open and close, hedges, keys, cut streams."""

import time

from proof import traffic
from proof.rig import free_port

from .calls import Caller
from .stage import Stage, Within, provider, route, until

ABOUT = "retries, fallbacks, hedges, breakers, keys, cut streams, callers that leave"

SAFE = ("safe", "safe-1")
USAGE = {"input": 10, "output": 1}
ANSWER = {"answer": {"text": "one", "usage": USAGE}}
OPEN_FOR = 3.0


def documents(port, dead_port):
    backoff = {"base": "10ms", "max": "10ms"}
    like = lambda name, models, at=port, **spec: provider(name, "OpenAICompatible", at, 10, models, **({"retry": {"maxAttempts": 1}} | spec))
    return [
        like("safe", ["safe-1"]),
        like("again", ["again-1"], retry={"maxAttempts": 3, "backoff": backoff}),
        like("onward", ["onward-1", "odd-1"]),
        like("late", ["late-1"], timeouts={"firstToken": "300ms"}),
        like("gone", ["gone-1"], dead_port),
        like("breaks", ["breaks-1"], circuitBreaker={"failureThreshold": 3, "openFor": f"{OPEN_FOR:.0f}s"}),
        like("slow", ["slow-1"]),
        *(like(name, [model], credentials=[{"name": "first", "env": "A_KEY"}, {"name": "second", "env": "B_KEY"}]) for name, model in (("told", "limited-1"), ("denied", "denied-1"))),
        like("cuts", ["cut-1", "long-1"]),
        *(route(model, (name, model), SAFE) for name, model in (("onward", "onward-1"), ("late", "late-1"), ("onward", "odd-1"), ("gone", "gone-1"), ("breaks", "breaks-1"))),
        route("slow-1", ("slow", "slow-1"), SAFE, hedge={"after": "100ms", "maxPercent": 100}),
        *(route(model, (name, model)) for name, model in (("safe", "safe-1"), ("again", "again-1"), ("told", "limited-1"), ("denied", "denied-1"), ("cuts", "cut-1"), ("cuts", "long-1"))),
    ]


def broken_and_whole_again(stage, caller):
    """Three failures open the breaker; two requests pass it by; one probes it after its time, and it closes."""
    stage.script(steps=[("breaks-1", 3, {"status": {"code": 500}})])
    for _ in range(3):
        caller.chat("breaks-1")
    opened = time.monotonic()
    for _ in range(2):
        caller.chat("breaks-1")
    if time.monotonic() - opened > OPEN_FOR:
        raise AssertionError("this machine was too slow to ask twice while the breaker is open")
    stage.look()
    stage.holds("bowsprit_breaker_state while it is open", 'bowsprit_breaker_state{provider="breaks"}', {"breaks": 2}, "provider")
    until("the breaker lets one through", lambda: time.monotonic() > opened + OPEN_FOR + 0.1)
    for _ in range(2):
        caller.chat("breaks-1")


def play(programs, report, _):
    with Stage("errors", programs, report) as stage:
        stage.script(
            always={**dict.fromkeys(("safe-1", "again-1", "breaks-1", "limited-1", "denied-1"), ANSWER), "onward-1": {"status": {"code": 503}}, "late-1": "hang", "odd-1": "garbage",
                    "slow-1": {"answer": {"text": "one", "head_delay_ms": 2000, "usage": USAGE}}, "long-1": {"answer": {"chunks": 400, "delay_ms": 50}},
                    "cut-1": {"answer": {"text": "one two three four", "fault": {"reset": {"at": {"after_chunks": 2}}}}}},
            steps=[("again-1", 1, {"status": {"code": 500}}), ("again-1", 1, {"status": {"code": 529}}), ("limited-1", 1, {"status": {"code": 429, "retry_after_ms": 60000}}),
                   ("denied-1", 1, {"status": {"code": 401}})])
        sidecar = stage.started(documents(stage.port, free_port()), B_KEY="b-key")
        stage.scraped()
        caller = Caller(sidecar)

        for _ in range(2):
            caller.chat("again-1")
        for _ in range(2):
            caller.chat("onward-1")
        caller.chat("late-1", stream=True)
        caller.chat("odd-1")
        caller.chat("gone-1")
        broken_and_whole_again(stage, caller)
        for _ in range(2):
            caller.chat("slow-1")
        caller.chat("limited-1")
        caller.chat("denied-1")
        for _ in range(3):
            traffic.cut(sidecar, "cut-1")
        for _ in range(2):
            traffic.left(sidecar, "long-1")
        for _ in range(3):
            caller.ask("/v1/chat/completions", "{", status=400)
        for _ in range(2):
            caller.chat("no-such-model", status=404)
        stage.ended()

        ok = 2 + 2 + 1 + 1 + 1 + (3 + 2 + 2) + 2 + 1 + 1
        stage.counts("bowsprit_requests_total", {"ok": ok, "cut EXT_TRUNCATED": 3, "cancelled": 2, "client_error VAL_NOT_JSON": 3, "client_error RES_MODEL_NOT_FOUND": 2}, "outcome code")
        stage.counts("bowsprit_attempts_total", {
            "safe ok": 2 + 1 + 1 + 1 + (3 + 2) + 2, "again ok": 2, "again EXT_SERVER_ERROR": 1, "again EXT_OVERLOADED": 1, "onward EXT_OVERLOADED": 2,
            "late EXT_FIRST_TOKEN_TIMEOUT": 1, "onward EXT_PROTOCOL": 1, "gone EXT_CONNECT_REFUSED": 1, "breaks EXT_SERVER_ERROR": 3, "breaks ok": 2, "slow cancelled": 2,
            "told RATE_PROVIDER": 1, "told ok": 1, "denied AUTH_KEY_REJECTED": 1, "denied ok": 1, "cuts EXT_TRUNCATED": 3, "cuts cancelled": 2}, "provider code")
        stage.counts("bowsprit_retries_total", {"again EXT_SERVER_ERROR": 1, "again EXT_OVERLOADED": 1, "told RATE_PROVIDER": 1, "denied AUTH_KEY_REJECTED": 1}, "provider code")
        # A candidate whose breaker is open is planned last, and not reached: nobody is switched away from it.
        stage.counts("bowsprit_fallbacks_total", {"onward EXT_OVERLOADED": 2, "late EXT_FIRST_TOKEN_TIMEOUT": 1, "onward EXT_PROTOCOL": 1, "gone EXT_CONNECT_REFUSED": 1, "breaks EXT_SERVER_ERROR": 3}, "provider code")
        stage.counts("bowsprit_breaker_transitions_total", {"breaks open consecutive_failures": 1, "breaks half_open open_for_passed": 1, "breaks closed recovered": 1}, "provider to cause")
        stage.counts("bowsprit_breaker_state", 0)
        stage.counts("bowsprit_hedges_total", {"safe won": 2}, "provider outcome")
        stage.counts("bowsprit_keys_set_aside_total", {"told throttled": 1, "denied rejected": 1}, "provider why")
        # A throttled key is asked last and can be used; a rejected one cannot.
        stage.counts("bowsprit_keys_usable", {"told": 2, "denied": 1}, "provider", 'provider=~"told|denied"')
        # Two pieces of a cut stream, and what is guessed of the input of streams and of attempts that lost.
        stage.counts("bowsprit_estimated_tokens_total", {"cuts input": Within(5 * 10, 5 * 40), "cuts output": Within(3 * 2 + 2, 200), "slow input": Within(2 * 10, 2 * 40)},
                     "provider kind", 'provider=~"cuts|slow"')
        answered = {"safe": 12, "again": 2, "breaks": 2, "told": 1, "denied": 1}
        stage.counts("bowsprit_tokens_total", {f"{name} {kind}": count * USAGE[kind] for name, count in answered.items() for kind in USAGE}, "provider kind")
        stage.counts("bowsprit_in_flight", 0)
        stage.nothing_else(("bowsprit_retries_denied_total", "bowsprit_lifecycle_illegal_events_total", "bowsprit_metrics_folded_total"))
