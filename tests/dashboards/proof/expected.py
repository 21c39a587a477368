"""What each query must return of one round of traffic in shop/web, from the script alone: nothing here was read from a sidecar.

An expectation is a figure, or {series: figure}. A figure is a number, `Rate` (a second), `Minute` (a minute) or `Within` (what time
decides: no number can be promised)."""

from dataclasses import dataclass

from .world import CLAUDE, GEMINI, OPENAI


@dataclass(frozen=True)
class Rate:
    """So many in the round, as a rate a second."""

    count: float

    def fits(self, got, window):
        return close(got * window, self.count)

    def __str__(self):
        return f"{self.count:g} in the window"


class Minute(Rate):
    """So many in the round, as a rate a minute."""

    def fits(self, got, window):
        return close(got * window / 60, self.count)


@dataclass(frozen=True)
class MinuteWithin:
    """Between so many and so many in the round, as a rate a minute."""

    least: float
    most: float

    def fits(self, got, window):
        return self.least <= got * window / 60 + 1e-6 and got * window / 60 <= self.most + 1e-6

    def __str__(self):
        return f"{self.least:g} to {self.most:g} in the window"


@dataclass(frozen=True)
class Within:
    least: float
    most: float

    def fits(self, got, _):
        return self.least <= got <= self.most

    def __str__(self):
        return f"{self.least:g} to {self.most:g}"


def close(got, want):
    return abs(got - want) <= 1e-6 * max(1, abs(want))


def fits(want, got, window):
    return want.fits(got, window) if hasattr(want, "fits") else close(got, want)


def times(count, tokens):
    return {kind: count * amount for kind, amount in tokens.items()}


def added(*amounts):
    return {kind: sum(each.get(kind, 0) for each in amounts) for kind in ("input", "output", "cached", "cache_write", "reasoning")}


# Who answered how often, of web_round: gpt-4.1-mini 12 + 1 asked again by an SDK + 5 after broken.
MINI, MESSAGES, TRANSLATED, HEDGED, CONTENTS, FLAKY, NARROW, STRICT = 18, 6, 3, 2, 4, 4, 3, 1
OK = MINI + MESSAGES + TRANSLATED + HEDGED + CONTENTS + FLAKY + NARROW + STRICT
SHED, PROVIDER_ERROR, CLIENT_ERROR, CUT, CANCELLED = 1, 2, 2, 2, 2
ALL = OK + SHED + PROVIDER_ERROR + CLIENT_ERROR + CUT + CANCELLED
COUNTED = ALL - CLIENT_ERROR - CANCELLED
assert (OK, ALL) == (41, 50)
SUCCESS = OK / COUNTED
CLAUDE_OK = MESSAGES + TRANSLATED + HEDGED
ATTEMPTS = {"openai": MINI + HEDGED + CUT + CANCELLED, "claude": CLAUDE_OK, "gemini": CONTENTS, "flaky": FLAKY + 1, "broken": 3 + 1, "narrow": NARROW, "strict": STRICT + 1}
FAILURES = {"openai EXT_TRUNCATED": CUT, "flaky EXT_SERVER_ERROR": 1, "broken EXT_SERVER_ERROR": 3, "broken EXT_OVERLOADED": 1, "strict RATE_PROVIDER": 1}
PROVIDERS = ("openai", "claude", "gemini", "flaky", "broken", "narrow", "strict")
SMALL = {"input": 10, "output": 1}
TOKENS = {
    "openai gpt-4.1-mini": times(MINI, OPENAI),
    "claude claude-sonnet-4-5": times(CLAUDE_OK, CLAUDE),
    "gemini gemini-2.5-flash": times(CONTENTS, GEMINI),
    "flaky failing-1": times(FLAKY, SMALL),
    "narrow narrow-1": times(NARROW, SMALL),
    "strict strict-1": times(STRICT, SMALL),
}
KINDS = added(*TOKENS.values())
IN_AND_OUT = {model: kinds["input"] + kinds["output"] for model, kinds in TOKENS.items()}
# Streams that hang all the while.
OPEN = 2
# What the scripted providers say is left of their limits with every answer, as the real ones do.
OPENAI_LEFT = {"requests": 9999, "tokens": 1_999_980}
CLAUDE_LEFT = {"requests": 3999, "tokens": 400_000}
MODELS = {"openai": ("gpt-4.1-mini", "slow-1", "cut-1", "long-1", "silent-1"), "claude": ("claude-sonnet-4-5",), "gemini": ("gemini-2.5-flash",), "flaky": ("failing-1",),
          "broken": ("broken-1", "down-1"), "narrow": ("narrow-1",), "strict": ("strict-1", "tired-1")}
WEB = "shop/web"


def each(kind, counts):
    return {name: kind(count) for name, count in counts.items()}


def every(names, want):
    return dict.fromkeys(names, want)


EXPECTED = {
    "requests": ALL,
    "requests_rate": Rate(ALL),
    "requests_by_outcome": each(Rate, {"ok": OK, "shed": SHED, "provider_error": PROVIDER_ERROR, "client_error": CLIENT_ERROR, "cut": CUT, "cancelled": CANCELLED}),
    "requests_by_dialect": each(Rate, {"openai": ALL - MESSAGES - CONTENTS, "anthropic": MESSAGES, "gemini": CONTENTS, "openai_responses": 0}),
    "requests_by_workload": {WEB: ALL},
    "requests_by_code": each(Minute, {"RATE_LOCAL_LIMIT": SHED, "EXT_OVERLOADED": 1, "RATE_PROVIDER": 1, "VAL_NOT_JSON": CLIENT_ERROR, "EXT_TRUNCATED": CUT}),
    "failures": {"shed RATE_LOCAL_LIMIT": SHED, "provider_error EXT_OVERLOADED": 1, "provider_error RATE_PROVIDER": 1, "client_error VAL_NOT_JSON": CLIENT_ERROR, "cut EXT_TRUNCATED": CUT},
    "requests_in_flight": OPEN,
    "sidecars": 1,
    "success": SUCCESS,
    "success_by_workload": {WEB: SUCCESS},
    "budget_left": 1 - (1 - SUCCESS) / 0.01,
    **{f"burn_rate_{window}": (1 - SUCCESS) / 0.01 for window in ("5m", "1h", "6h")},
    # claude answers all it is asked, and is told to wait 120 ms where 100 are wanted; broken fails every exchange, and its route none.
    "objectives": {"provider claude availability": 1, "provider claude first_token": 0, "provider broken availability": 0, "route broken-1 availability": 1},
    "objective_events": {"provider claude availability": CLAUDE_OK, "provider claude first_token": MESSAGES, "provider broken availability": 4, "route broken-1 availability": 5},
    "objectives_bad": {"provider claude availability": 0, "provider claude first_token": 1, "provider broken availability": 1, "route broken-1 availability": 0},
    # Six streams of claude wait 120 ms for their first content; four others begin at once.
    "first_token_p50": Within(0.05, 1),
    "first_token_p95": Within(0.1, 2.5),
    "first_token_p99": Within(0.1, 2.5),
    "first_token_by_workload": {WEB: Within(0.1, 2.5)},
    "duration_p50": Within(0.0001, 1),
    "duration_p95": Within(0.3, 5),
    "duration_p99": Within(0.3, 5),
    "overhead_p50": Within(0.00001, 0.25),
    "overhead_p99": Within(0.00001, 2.5),
    "sdk_retries": Rate(1),
    "attempts_by_provider": each(Rate, ATTEMPTS),
    "attempts_in_range": ATTEMPTS,
    "attempt_failures": each(Minute, FAILURES),
    "attempt_failures_in_range": FAILURES,
    "attempt_success": {"openai": MINI / (MINI + CUT), "claude": 1, "gemini": 1, "flaky": 0.8, "broken": 0, "narrow": 1, "strict": 0.5},
    # narrow is told to take 300 ms, strict 600 ms for one of its two, claude 120 + 4 x 20 ms for a stream.
    "attempt_seconds": {**every(PROVIDERS, Within(0.0001, 1)), "narrow": Within(0.3, 2), "strict": Within(0.3, 2), "claude": Within(0.1, 2)},
    "attempt_seconds_in_range": {**every(PROVIDERS, Within(0.0001, 1)), "narrow": Within(0.3, 2), "strict": Within(0.3, 2), "claude": Within(0.1, 2)},
    "attempts_per_request": sum(ATTEMPTS.values()) / (ALL - SHED - CLIENT_ERROR),
    "first_chunk_p50": {"_OTHER p50": Within(0.01, 1)},
    "first_chunk_p95": {"_OTHER p95": Within(0.1, 2)},
    "pause_p99": {"_OTHER": Within(0.01, 1)},
    "provider_in_flight": {**every(PROVIDERS, 0), "openai": OPEN},
    "provider_score": {**every(PROVIDERS, Within(0, 1)), "gemini": Within(0.9, 1)},
    "provider_healthy": every(PROVIDERS, 1),
    # Once a second.
    "probes": {"openai ok": Within(30, 90)},
    "connections_reused": Within(0.5, 1),
    "breakers": {f"{provider} {model}": 2 if model == "broken-1" else 0 for provider, models in MODELS.items() for model in models},
    "breakers_open": 1,
    "breaker_changes": {"broken open: consecutive_failures": Minute(1), "broken closed: reset": Minute(1)},
    "retries": each(Minute, {"flaky EXT_SERVER_ERROR": 1}),
    "retries_denied": each(Minute, {"broken": 1}),
    "fallbacks": each(Minute, {"broken EXT_SERVER_ERROR": 3}),
    "hedges": each(Minute, {"claude won": HEDGED}),
    "keys_missing": {**every(PROVIDERS, 0), "gemini": 1},
    "keys_set_aside": each(Minute, {"strict throttled": 1}),
    "tokens_input": KINDS["input"],
    "tokens_output": KINDS["output"],
    "tokens_by_model": each(Minute, IN_AND_OUT),
    "tokens_by_kind": each(Minute, KINDS),
    "tokens_by_workload": {WEB: sum(IN_AND_OUT.values())},
    "tokens_table": {f"{model} {kind}": count for model, kinds in TOKENS.items() for kind, count in kinds.items()},
    "tokens_cached": {"openai": OPENAI["cached"] / OPENAI["input"], "claude": CLAUDE["cached"] / CLAUDE["input"]},
    "tokens_estimated": Within(0.0001, 0.2),
    # Of two cut streams, two that were left and two that lost to a hedge: a quarter of the bytes of their requests (70 to 130), and one
    # for each piece of content that was seen: two of a cut one, at least one of one that was left.
    "tokens_estimated_by_provider": {"openai input": MinuteWithin(6 * 16, 6 * 40), "openai output": MinuteWithin(2 * 2 + 2, 200)},
    # By OpenTelemetry's buckets: 1, 4, 16, 64, 256. With seven providers all of them count as _OTHER (docs/metrics.md).
    "tokens_per_exchange_input": {"_OTHER input": Within(64, 256)},
    "tokens_per_exchange_output": {"_OTHER output": Within(16, 64)},
    "tokens_per_second": {**every(("openai", "gemini", "flaky"), Within(10, 1e6)), "claude": Within(50, 500), "narrow": Within(0.5, 3.4), "strict": Within(0.2, 1.7)},
    "limited": each(Minute, {"narrow concurrent_requests": 2, "strict concurrent_requests": 1}),
    "limited_in_range": 3,
    # Two of three wait, 300 and 600 ms; the third that met a limit was refused at once.
    "limit_wait": {"narrow": Within(0.4, 2)},
    "headroom": {f"{provider} {of}": left for provider in PROVIDERS if provider != "gemini"
                 for of, left in (CLAUDE_LEFT if provider == "claude" else OPENAI_LEFT).items()},
    "left_out": {"claude field": TRANSLATED},
    "request_bytes": Within(1, 1e6),
    "answer_bytes": Within(1, 1e6),
    "sidecar_memory": {WEB: Within(1e6, 2e8)},
    "sidecar_cpu": {WEB: Within(0.0001, 2)},
    "sidecar_busy": {WEB: Within(0.0001, 4)},
    "sidecar_descriptors": {WEB: Within(1e-9, 0.5)},
    "sidecar_held": {WEB: Within(0, 0.5)},
    "sidecar_log_lost": 0,
    "sidecar_folded": 0,
    "sidecar_accept_errors": 0,
    "sidecar_restarts": {WEB: 0},
    "config_revisions": 1,
    "config_behind": 0,
    "config_not_in_service": 0,
    "config_no_stream": 1,
    "config_loaded": Minute(1),
    "config_rejected": Minute(1),
}

# The same round in lab/batch, of which a figure of each kind is enough: the variables tell workloads apart.
BATCH = 5
EXPECTED_BATCH = {
    "requests": BATCH,
    "requests_rate": Rate(BATCH),
    "requests_by_workload": {"lab/batch": BATCH},
    "success": 1,
    "attempts_in_range": {"openai": BATCH},
    "tokens_input": BATCH * OPENAI["input"],
    "tokens_by_workload": {"lab/batch": BATCH * (OPENAI["input"] + OPENAI["output"])},
    "breakers": {"openai gpt-4.1-mini": 0},
}
# Queries about what only a cluster has: operators, and streams to them. tests/e2e/tests/observability.rs runs them.
IN_A_CLUSTER = {"config_stream_ended"}


def is_of_a_cluster(name):
    return name.startswith("operator") or name in IN_A_CLUSTER
