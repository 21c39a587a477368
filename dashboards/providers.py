"""Providers and resilience: how providers do, and what is done about it."""

from grafana import GREEN, ORANGE, RED, YELLOW, bargauge, dashboard, per_minute, stat, steps, table, timeseries
from variables import MODEL, NAMESPACE, PROVIDER, WORKLOAD

SHARE = steps(RED, (0.9, ORANGE), (0.97, GREEN))
BREAKER = [{"type": "value", "options": {
    "0": {"text": "closed", "color": GREEN, "index": 0}, "1": {"text": "half open", "color": YELLOW, "index": 1}, "2": {"text": "open", "color": RED, "index": 2}}}]

DASHBOARD = dashboard(
    "bowsprit-providers", "Bowsprit / Providers and resilience",
    "How each provider answers, and what sidecars do about failures: breakers, retries, fallbacks, hedges, keys.",
    [
        ("Providers", [
            table("Providers", "Each provider in this time range. An exchange is one request to a provider; several may serve one request of an app.", {
                "attempts_in_range": ("Exchanges", "none", None),
                "attempt_success": ("Went well", "percentunit", SHARE),
                "attempt_seconds_in_range": ("Mean duration", "s", None),
            }, keys={"provider": "Provider"}, width=12),
            table("What failed", "How exchanges of this time range failed. docs/classification.md says what follows from each code.",
                  {"attempt_failures_in_range": ("Exchanges", "none", None)}, keys={"provider": "Provider", "model": "Model", "code": "Code"}, width=12),
            timeseries("Exchanges", "Exchanges a second by provider.", ["attempts_by_provider"], unit="reqps", stack=True),
            per_minute("Failed exchanges", "A minute, by provider and code; those that the caller left are not failures.", ["attempt_failures"]),
            timeseries("Mean duration of an exchange", "From the request to a provider to the end of its answer.", ["attempt_seconds"], unit="s"),
            timeseries("First content by API", "From the request to a provider to the first content of its stream, by whose API it is.", ["first_chunk_p50", "first_chunk_p95"], unit="s"),
            timeseries("Pause in a stream, 99 of 100", "From one piece of content to the next.", ["pause_p99"], unit="s"),
            timeseries("Under way", "Exchanges under way by provider.", ["provider_in_flight"], unit="short"),
        ]),
        ("Breakers", [
            stat("Open breakers", "Breakers that let no request through, over all sidecars.", "breakers_open", unit="short", height=8, thresholds=steps(GREEN, (1, RED))),
            bargauge("Breakers", "The worst state of each over all sidecars: 0 closed, 1 half open (one request probes), 2 open.", "breakers", unit="short", width=10,
                     mappings=BREAKER, thresholds=steps(GREEN, (1, YELLOW), (2, RED)), least=0, most=2),
            per_minute("Changes of breakers", "A minute, by what the breaker became and why.", ["breaker_changes"], width=10),
        ]),
        ("What is done about failures", [
            stat("Exchanges per request", "Above 1.2, retrying makes an outage worse; a retry budget holds it down.", "attempts_per_request", unit="none", height=8, decimals=2,
                 thresholds=steps(GREEN, (1.2, ORANGE), (1.5, RED))),
            per_minute("Retries", "Asked the same provider again, a minute, by what the exchange before ended with.", ["retries"], width=10),
            per_minute("Fallbacks", "Went on to the next candidate, a minute, by what was wrong with this one.", ["fallbacks"], width=10),
            per_minute("Retries denied", "A minute: not made for want of retry budget. The provider fails so much that retrying would only add load.", ["retries_denied"]),
            per_minute("Hedges", "Second attempts beside a slow first one, a minute, at whom they went to: won, lost, failed or cancelled with the request.", ["hedges"]),
            timeseries("Connections reused", "Share of exchanges over a connection that was there. A low share costs a TCP and TLS handshake each.",
                       ["connections_reused"], unit="percentunit", most=1, thresholds=steps(RED, (0.5, GREEN))),
            per_minute("Outages of a route", "Requests a minute that met an outage of every candidate of a ModelRoute with staleIfError: served with the last good answer, or none was there to give.",
                       ["stale_answers"], width=12),
            timeseries("Memory of kept answers", "What ModelRoutes with staleIfError keep for an outage, over all sidecars.", ["kept_bytes"], unit="bytes", width=12),
        ]),
        ("Health and keys", [
            timeseries("Score", "How gladly a provider is asked, from recent successes, speed and probes: the mean of all sidecars.", ["provider_score"], unit="percentunit", most=1),
            timeseries("Passes its probes", "Share of sidecars whose active probes of the provider do not fail.", ["provider_healthy"], unit="percentunit", most=1, calcs=("min", "lastNotNull")),
            per_minute("Probes", "Active health probes a minute, where a ProviderConfig asks for them.", ["probes"]),
            bargauge("Keys that cannot be used", "Of the keys that a ProviderConfig names, in the sidecar that has the fewest: missing, refused by the provider, or set aside for a while.", "keys_missing",
                     unit="short", width=12, thresholds=steps(GREEN, (1, RED)), least=0),
            per_minute("Keys set aside", "A minute: rejected by the provider, or throttled.", ["keys_set_aside"], width=12),
        ]),
    ],
    [NAMESPACE, WORKLOAD, PROVIDER, MODEL],
)
