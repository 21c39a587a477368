"""Requests in every API, plain and streamed, to the provider that speaks it and to others."""

from proof.world import CLAUDE, GEMINI, OPENAI, PRICES, SCRIPT

from . import exemplars
from .calls import Caller
from .stage import Stage, Within, provider, route

ABOUT = "requests, attempts, tokens, cost, bytes, latencies and their traces of what all goes well"

MINI, SONNET, FLASH = "gpt-4.1-mini", "claude-sonnet-4-5", "gemini-2.5-flash"
# How the callers speak: (call, plain, streamed), by the model that is asked for.
ROUND = {
    MINI: (("chat", 7, 3), ("responses", 4, 2), ("messages", 3, 1), ("contents", 1, 1)),
    SONNET: (("messages", 2, 5), ("chat", 2, 1), ("responses", 1, 0), ("contents", 0, 1)),
    FLASH: (("contents", 6, 2), ("chat", 1, 1), ("messages", 1, 1)),
}
DIALECTS = {"chat": "openai", "responses": "openai_responses", "messages": "anthropic", "contents": "gemini"}
USAGE = {MINI: ("openai", "openai", OPENAI), SONNET: ("claude", "anthropic", CLAUDE), FLASH: ("gemini", "gcp.gemini", GEMINI)}


def documents(port):
    return [
        provider("openai", "OpenAI", port, 10, [MINI]),
        provider("claude", "Anthropic", port, 20, [SONNET]),
        provider("gemini", "Gemini", port, 30, [FLASH]),
        *(route(model, (USAGE[model][0], model)) for model in ROUND),
    ]


def billed(usage, price, count):
    """By the price list: what is cached or written to the cache is a part of the input, and not paid twice."""
    plain = usage["input"] - usage.get("cached", 0) - usage.get("cache_write", 0)
    amounts = ((plain, "input"), (usage["output"], "output"), (usage.get("cached", 0), "cacheRead"), (usage.get("cache_write", 0), "cacheWrite"))
    return count * sum(tokens * float(price.get(kind, 0)) for tokens, kind in amounts) / 1e6


def play(programs, report, _):
    with Stage("traffic", programs, report) as stage:
        stage.script({model: SCRIPT[model] for model in ROUND})
        sidecar = stage.started(documents(stage.port), **exemplars.ENVIRONMENT)
        stage.scraped()
        caller = Caller(sidecar)
        asked = {model: 0 for model in ROUND}
        streams, by_dialect, by_answer = dict(asked), dict.fromkeys(DIALECTS.values(), 0), {}
        for model, ways in ROUND.items():
            for way, plain, streamed in ways:
                for stream, count in ((False, plain), (True, streamed)):
                    for _ in range(count):
                        getattr(caller, way)(model, stream)
                asked[model] += plain + streamed
                streams[model] += streamed
                by_dialect[DIALECTS[way]] += plain + streamed
        for _ in range(2):
            caller.chat(MINI, headers={"x-stainless-retry-count": "1"})
        asked[MINI] += 2
        by_dialect["openai"] += 2
        stage.ended()

        every = sum(asked.values())
        own = {model: USAGE[model][0] for model in ROUND}
        stage.counts("bowsprit_requests_received_total", by_dialect, "dialect")
        stage.counts("bowsprit_requests_total", {"ok": every}, "outcome code")
        stage.counts("bowsprit_attempts_total", {f"{own[model]} {model} ok": count for model, count in asked.items()}, "provider model code")
        stage.counts("bowsprit_tokens_total", {f"{own[model]} {kind}": count * USAGE[model][2].get(kind, 0)
                     for model, count in asked.items() for kind in ("input", "output", "cached", "cache_write", "reasoning")}, "provider kind")
        stage.counts("bowsprit_cost_usd_total", {f"{own[model]} {model} reported": billed(USAGE[model][2], PRICES[model], count)
                     for model, count in asked.items()}, "provider model kind")
        stage.counts("bowsprit_sdk_retries_total", 2)
        stage.counts("bowsprit_request_body_bytes_total", caller.sent)
        stage.counts("bowsprit_answer_body_bytes_total", caller.read)
        for family in ("bowsprit_request_duration_seconds_count", "bowsprit_overhead_seconds_count"):
            stage.counts(family, every)
        stage.counts("bowsprit_first_token_seconds_count", sum(streams.values()))
        whose = {model: USAGE[model][1] for model in ROUND}
        # What each pair of these says is said once for every exchange.
        stage.counts("gen_ai_client_operation_duration_seconds_count", {whose[model]: count for model, count in asked.items()}, "gen_ai_provider_name error_type")
        stage.counts("gen_ai_client_operation_time_to_first_chunk_seconds_count", {whose[model]: count for model, count in streams.items()}, "gen_ai_provider_name")
        for what, of in (("count", lambda _: 1), ("sum", lambda amount: amount)):
            stage.counts(f"gen_ai_client_token_usage_{what}", {f"{whose[model]} {kind}": count * of(USAGE[model][2][kind])
                         for model, count in asked.items() for kind in ("input", "output")}, "gen_ai_provider_name gen_ai_token_type")
        # Each of Claude's answers waits 120 ms for its first content, and 20 ms for each of four more.
        stage.counts("bowsprit_attempt_seconds_total", {"openai": Within(0.001, 30), "gemini": Within(0.001, 30),
                     "claude": Within(0.12 * asked[SONNET], 2 * asked[SONNET])}, "provider")
        stage.counts("bowsprit_in_flight", 0)
        stage.counts("bowsprit_provider_in_flight", 0)
        stage.nothing_else(("bowsprit_retries_total", "bowsprit_fallbacks_total", "bowsprit_estimated_tokens_total", "bowsprit_rate_limited_total",
                            "bowsprit_breaker_transitions_total", "bowsprit_cost_unknown_attempts_total", "bowsprit_metrics_folded_total",
                            "bowsprit_lifecycle_illegal_events_total", "bowsprit_log_lines_lost_total"))
        exemplars.play(stage, lambda headers: caller.chat(MINI, headers=headers), lambda headers: caller.messages(SONNET, True, headers=headers))
