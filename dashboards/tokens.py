"""Tokens, cost and limits: what is used, what it costs, and what stands in the way."""

from grafana import BLUE, GREEN, ORANGE, RED, YELLOW, bargauge, dashboard, per_minute, stat, steps, table, timeseries
from variables import MODEL, NAMESPACE, PROVIDER, WORKLOAD

DASHBOARD = dashboard(
    "bowsprit-tokens", "Bowsprit / Tokens, cost and limits",
    "Tokens as providers report them, those of answers that broke off or were left included, and the limits that requests met.",
    [
        ("In this time range", [
            stat("Input tokens", "Cached ones included.", "tokens_input", unit="short", width=5, thresholds=steps(BLUE)),
            stat("Output tokens", "Reasoning included.", "tokens_output", unit="short", width=5, thresholds=steps(BLUE)),
            stat("Estimated", "Share of all tokens that no provider reported: of answers that broke off or were left, and of servers that report none.", "tokens_estimated",
                 unit="percentunit", width=5, decimals=2, thresholds=steps(GREEN, (0.02, ORANGE), (0.1, RED))),
            stat("Requests at a limit", "Requests that met a limit of a ProviderConfig, whether they then waited, went elsewhere or were refused.", "limited_in_range",
                 unit="short", width=5, decimals=0, thresholds=steps(GREEN, (1, YELLOW))),
            stat("Sidecars", "Sidecars that Prometheus scrapes.", "sidecars", unit="short", thresholds=steps(RED, (1, GREEN))),
        ]),
        ("Cost", [
            stat("Cost", "What the exchanges of this time range cost, by the ProviderConfig's own prices or the release's table of list prices; estimated tokens included.", "cost",
                 unit="currencyUSD", height=8, decimals=4, thresholds=steps(BLUE)),
            timeseries("Cost an hour by model", "US dollars an hour at the present rate.", ["cost_by_model"], unit="currencyUSD", stack=True, width=10),
            table("Cost by model", "Of this time range. A model without a price costs nobody knows how much, and is in no sum.",
                  {"cost_table": ("Cost", "currencyUSD", None), "cost_tokens": ("Tokens", "none", None)}, keys={"provider": "Provider", "model": "Model"}, width=10),
            stat("Exchanges of unknown cost", "Nobody knows the tokens, the model's price, or the terms that they were billed by. They are in no sum of money.", "cost_unknown_in_range",
                 unit="short", height=8, decimals=0, thresholds=steps(GREEN, (1, ORANGE))),
            per_minute("Unknown cost", "Exchanges a minute whose cost nobody knows, by what is not known.", ["cost_unknown"], width=10),
            bargauge("Cost by workload", "Of this time range.", "cost_by_workload", unit="currencyUSD", width=10, thresholds=steps(BLUE), decimals=4, least=0),
        ]),
        ("Tokens", [
            timeseries("Tokens a minute by model", "Input and output.", ["tokens_by_model"], unit="short", stack=True, width=12),
            timeseries("Tokens a minute by kind", "Cached and cache_write are parts of input, reasoning is part of output.", ["tokens_by_kind"], unit="short", width=12),
            table("Tokens by model", "Of this time range.", {"tokens_table": ("Tokens", "none", None)}, keys={"provider": "Provider", "model": "Model", "kind": "Kind"}, width=12),
            bargauge("Tokens by workload", "Input and output of this time range.", "tokens_by_workload", unit="short", width=12, thresholds=steps(BLUE)),
            bargauge("Served from the provider's prompt cache", "Share of the input tokens of this time range; cached ones cost a fraction.", "tokens_cached", unit="percentunit",
                     thresholds=steps(ORANGE, (0.2, GREEN)), least=0, most=1),
            timeseries("Tokens of one exchange, 95 of 100", "By whose API was spoken.", ["tokens_per_exchange_input", "tokens_per_exchange_output"], unit="short"),
            timeseries("Output tokens a second of an exchange", "How fast a provider writes, waits for its first content included.", ["tokens_per_second"], unit="none"),
            per_minute("Estimated tokens", "A minute: spent beyond what providers reported.", ["tokens_estimated_by_provider"]),
            timeseries("Bytes", "Bodies of requests taken in, and of answers sent on.", ["request_bytes", "answer_bytes"], unit="Bps"),
            bargauge("Left out of requests", "Tools that a provider cannot run and fields that it has no word for, in this time range; x-bowsprit-warning names each.", "left_out", unit="short",
                     thresholds=steps(YELLOW), decimals=0),
        ]),
        ("Limits", [
            per_minute("Met a limit of ours", "A minute, by provider and which of its rateLimits.", ["limited"]),
            timeseries("Mean wait for room", "Of the requests that met a limit of the ProviderConfig.", ["limit_wait"], unit="s"),
            timeseries("What the provider says is left", "Of its own limit, in the sidecar that heard the least; below what a request needs, the provider is passed over.", ["headroom"], unit="short",
                       calcs=("min", "lastNotNull")),
        ]),
    ],
    [NAMESPACE, WORKLOAD, PROVIDER, MODEL],
)
