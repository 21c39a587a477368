"""Overview and SLO: how it is for the apps."""

from grafana import GREEN, ORANGE, RED, YELLOW, bargauge, choice, dashboard, per_minute, stat, steps, table, timeseries
from variables import NAMESPACE, WORKLOAD

SHARE = steps(RED, (0.95, ORANGE), (0.99, GREEN))

DASHBOARD = dashboard(
    "bowsprit-overview", "Bowsprit / Overview and SLO",
    "What apps get from their sidecars: how many requests, how many are answered, how fast, and what is left of an objective.",
    [
        ("Now", [
            stat("Answered", "Share of the requests of this time range that were answered. Requests that the caller got wrong or left do not count.",
                 "success", unit="percentunit", thresholds=SHARE, decimals=2),
            stat("Requests", "Requests that ended in this time range.", "requests", unit="short", decimals=0),
            stat("Rate", "Requests a second.", "requests_rate", unit="reqps", graph=True),
            stat("First content, 95 of 100", "How long the app waits for the first content of a stream, retries and switches included.",
                 "first_token_p95", unit="s", graph=True, thresholds=steps(GREEN, (5, YELLOW), (15, RED))),
            stat("In flight", "Requests under way, open streams included.", "requests_in_flight", unit="short", graph=True),
            stat("Sidecars", "Sidecars that Prometheus scrapes.", "sidecars", unit="short", thresholds=steps(RED, (1, GREEN))),
        ]),
        ("Objective", [
            stat("Error budget left", "What is left of the failures that the objective allows in this time range: 100 % untouched, 0 % spent, below it broken. Set the time range to the objective's window.",
                 "budget_left", unit="percentunit", width=6, height=8, thresholds=steps(RED, (0, ORANGE), (0.5, GREEN)), decimals=1),
            timeseries("Burn rate", "How many times faster than the objective allows the error budget is spent. At 14.4 a budget of 30 days is gone in two, at 6 in five.",
                       ["burn_rate_5m", "burn_rate_1h", "burn_rate_6h"], unit="none", width=18, limits=True, thresholds=steps(GREEN, (1, YELLOW), (6, ORANGE), (14.4, RED))),
        ]),
        ("Objectives of ProviderConfigs and ModelRoutes (spec.slo)", [
            table("Objectives", "How much of what has an objective was as it wants it, in this time range; set it to the objective's window.", {
                "objectives": ("Good", "percentunit", SHARE),
                "objective_events": ("Events", "none", None),
            }, keys={"namespace": "Namespace", "object": "Of", "name": "Name", "objective": "Objective"}, width=14),
            timeseries("Bad events", "Share of the exchanges with a provider, or requests of a route, that were not as their objective wants them.", ["objectives_bad"], unit="percentunit", width=10),
        ]),
        ("Requests", [
            timeseries("Requests by outcome", "Requests a second by how they ended: cut is a stream that broke after its first content, shed is what a limit refused.",
                       ["requests_by_outcome"], unit="reqps", stack=True),
            per_minute("Failures by code", "Requests a minute that were not answered, by error code. docs/errors.md says what each means and what to do.", ["requests_by_code"]),
            table("What failed", "The codes of this time range.", {"failures": ("Requests", "none", None)}, keys={"outcome": "Outcome", "code": "Code"}, width=8),
            timeseries("Requests by dialect", "Requests a second by the API that the app speaks.", ["requests_by_dialect"], unit="reqps", stack=True),
            bargauge("Requests by workload", "Requests of this time range by the workload whose pods sent them.", "requests_by_workload", unit="short", decimals=0),
            timeseries("Retries by SDKs", "Requests a second that the app's own SDK marked as its retry: these come on top of the sidecar's.", ["sdk_retries"], unit="reqps"),
        ]),
        ("Latency", [
            timeseries("First content", "From a streamed request's head to its first content, as the app sees it.",
                       ["first_token_p50", "first_token_p95", "first_token_p99"], unit="s"),
            timeseries("Whole answer", "From a request's head to the end of its answer, for those answered in full.", ["duration_p50", "duration_p95", "duration_p99"], unit="s"),
            timeseries("What Bowsprit adds", "Time to the answer's head that was spent neither waiting for a provider nor for the caller.",
                       ["overhead_p50", "overhead_p99"], unit="s", limits=True, thresholds=steps(GREEN, (0.005, RED))),
        ]),
        ("Workloads", [
            table("Workloads", "Each workload in this time range.", {
                "requests_by_workload": ("Requests", "none", None),
                "success_by_workload": ("Answered", "percentunit", SHARE),
                "first_token_by_workload": ("First content, 95 of 100", "s", None),
            }, keys={"namespace": "Namespace", "workload": "Workload"}, width=24),
        ]),
    ],
    [NAMESPACE, WORKLOAD, choice("objective", "Objective", ("0.95", "0.99", "0.995", "0.999"), "0.99")],
)
