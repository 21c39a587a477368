"""Limits, budgets, access and guards: who is turned away, by what, and where the money goes."""

from grafana import BLUE, GREEN, ORANGE, RED, YELLOW, bargauge, dashboard, per_minute, stat, steps, table, timeseries
from variables import NAMESPACE, WORKLOAD

SOME = steps(GREEN, (1, YELLOW))
SPENT = steps(GREEN, (0.8, ORANGE), (0.95, RED))
OF_WORKLOAD = {"namespace": "Namespace", "workload": "Workload"}

DASHBOARD = dashboard(
    "bowsprit-governance", "Bowsprit / Limits, budgets, access and guards",
    "Who is turned away, by which limit, budget, rule or guard, what those in shadow would turn away, and where the money goes.",
    [
        ("In this time range", [
            stat("Refused by limits", "Requests that a limit of a ModelRoute or UsagePolicy refused, those of loops included. BowspritLimitRefuses says what to do.", "refused_by_limits",
                 unit="short", decimals=0, thresholds=SOME),
            stat("Fullest budget", "What is spent of the budget that is nearest to its end, in the window that runs now.", "budget_fullest", unit="percentunit", decimals=1, thresholds=SPENT),
            stat("Without money", "Requests that a budget stopped or led to another ModelRoute.", "beyond_budgets", unit="short", decimals=0, thresholds=SOME),
            stat("Denied", "Requests and candidates that an access rule turned away.", "denied_by_rules", unit="short", decimals=0, thresholds=SOME),
            stat("Found by guards", "Requests and answers in which a guard found something, whatever it did then.", "found_by_guards", unit="short", decimals=0, thresholds=SOME),
            stat("Shadow would refuse", "What rules and guards in shadow let pass, and would refuse if they were enforced. At 0 for as long as apps do all that they do, enforcing them breaks nobody.",
                 "shadow", unit="short", decimals=0, thresholds=SOME),
        ]),
        ("Limits of ModelRoutes and UsagePolicies", [
            table("Who meets which limit", "Requests of this time range under each limit: admitted, those that stood in line first, those led to the route's fallback, and those refused. policy/NAME/runaway are requests that came too often.", {
                "limit_refused_by_workload": ("Refused", "none", steps(GREEN, (1, RED))),
                "limit_diverted_by_workload": ("Diverted", "none", None),
                "limit_waited_by_workload": ("Waited", "none", None),
                "limit_admitted_by_workload": ("Admitted", "none", None),
            }, keys={**OF_WORKLOAD, "limit_name": "Limit"}, width=24),
            per_minute("Refused", "A minute, by limit: ROUTE/LIMIT of a ModelRoute, policy/POLICY/LIMIT of a UsagePolicy.", ["limit_refuses"]),
            timeseries("Share refused", "Of the requests under a limit. BowspritLimitRefuses fires at 5 % for a quarter of an hour.", ["limit_refused_share"], unit="percentunit", limits=True,
                       thresholds=steps(GREEN, (0.05, RED)), most=1),
            timeseries("In line", "Requests that wait for room now. A line that does not shrink is a limit that is too low for what is asked.", ["limit_waiting"], unit="short"),
            timeseries("Mean time in line", "Of requests that stood in line, whatever came of it.", ["limit_line"], unit="s"),
            timeseries("Used of what was reserved", "Tokens that requests used, by those that were reserved for them: far below 1 a limit of tokens refuses more than it would have to, and max_tokens of the requests is too high.",
                       ["limit_estimates"], unit="percentunit"),
            per_minute("Loops", "Requests that came too often from one pod, a minute: told and let through (admitted), or refused.", ["runaways"]),
        ]),
        ("Limits of the fleet", [
            timeseries("Wanted and lent", "Of limits that sidecars share: what their requests would use, and what they have of it. Where wanted stays above lent, the limit is full.", ["share_wanted", "share_lent"],
                       unit="short", width=12),
            timeseries("On their floor", "Sidecars that have no good share and go on with the least: no operator answers them.", ["share_floors"], unit="short", width=6),
            timeseries("Store does not answer", "Sidecars that do not reach the store that counts a provider's limits; shares stand in, and no request fails for it. BowspritStoreAway fires at one in five.", ["store_away"],
                       unit="short", width=6),
            stat("Stores away", "Sidecars and providers whose store of limits does not answer now.", "stores_away", unit="short", width=6, height=8, thresholds=steps(GREEN, (1, ORANGE))),
            per_minute("By shares in the store's place", "Requests a minute that went on by a share, as the store did not answer in time.", ["store_fallbacks"], width=18),
        ]),
        ("Money", [
            bargauge("Spent of budgets", "In the window that runs now. Of a budget of each pod: of the pod that has spent most; of one that pods spend together: what all have spent.", "budget_spent",
                     unit="percentunit", thresholds=SPENT, least=0, decimals=1),
            timeseries("Spent of budgets, over time", "The line of one that lasts rises evenly to the end of its window. BowspritBudgetNearlySpent fires at 80 %.", ["budget_spent"], unit="percentunit", limits=True,
                       thresholds=steps(GREEN, (0.8, ORANGE))),
            per_minute("Beyond a budget", "Requests a minute that did not fit: over (they went on), diverted (to another ModelRoute), stopped.", ["budget_beyond"]),
            table("Who is beyond which budget", "Requests of this time range that did not fit into a budget.", {
                "budget_stopped_by_workload": ("Stopped", "none", steps(GREEN, (1, RED))),
                "budget_diverted_by_workload": ("Diverted", "none", None),
                "budget_over_by_workload": ("Over", "none", None),
            }, keys={**OF_WORKLOAD, "budget_name": "Budget"}, width=12),
            timeseries("Cost an hour by workload", "US dollars an hour at the present rate: who spends it.", ["cost_of_workloads"], unit="currencyUSD", stack=True, width=12),
            bargauge("Dearest models", "The ten that cost most in this time range: what it is spent on.", "cost_of_models", unit="currencyUSD", width=12, thresholds=steps(BLUE), decimals=4, least=0),
            per_minute("Refused as all is paused", "Requests a minute that the switch of a UsagePolicy refused. kubectl bowsprit status says which, and why.", ["paused"], width=12),
        ]),
        ("Access", [
            per_minute("Turned away by rules", "A minute, by rule: denied; would_deny (the rule is in shadow); undecided (it asks for what the request does not say).", ["access_denies"], width=12),
            table("Whom rules turn away", "Requests and candidates of this time range.", {
                "access_denied_by_workload": ("Denied", "none", steps(GREEN, (1, RED))),
                "access_would_deny_by_workload": ("Would be denied", "none", None),
                "access_undecided_by_workload": ("Undecided", "none", None),
            }, keys={**OF_WORKLOAD, "rule": "Rule"}, width=12),
        ]),
        ("Guards", [
            per_minute("Found", "Requests and answers a minute, by guard and what it did; would_mask and would_refuse are of guards in shadow.", ["guard_finds"], width=12),
            table("Whose requests and answers", "In which a guard found something, in this time range.", {"guard_by_workload": ("Found", "none", None)},
                  keys={**OF_WORKLOAD, "guard": "Guard", "decision": "What it did"}, width=12),
            timeseries("Time that services take", "Of guards that ask one (webhook): how long each question took, answered or not. Requests wait for it, and each window of a stream.", ["guard_service_time"], unit="s", width=12),
            per_minute("Not decided by services", "Requests and answers a minute about which a guard's service has not decided: passed or refused by onFailure, and why. not_asked: it has not answered others, and is left alone for a while. "
                       "BowspritGuardServiceAway fires where that is half of all.", ["guard_undecided"], width=12),
        ]),
    ],
    [NAMESPACE, WORKLOAD],
)
