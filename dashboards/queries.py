"""Every query of the dashboards, in one place: the panels name them, and tests/dashboards runs each of them against a Prometheus that
scrapes a sidecar under known traffic.

What stands for something:
  POD       the variables namespace and workload
  PROVIDER  those and the variable provider
  MODEL     those and the variable model
  RATE      the window of a rate, as Grafana chooses it: four scrapes at least
  RANGE     all of the time that the dashboard shows
"""

from dataclasses import dataclass

SELECTORS = {"POD": 'namespace=~"$namespace", workload=~"$workload"'}
SELECTORS["PROVIDER"] = SELECTORS["POD"] + ', provider=~"$provider"'
SELECTORS["MODEL"] = SELECTORS["PROVIDER"] + ', model=~"$model"'
WINDOWS = {"RATE": "$__rate_interval", "RANGE": "$__range"}

# How a request ended that failed through no fault of the caller.
FAILED = 'outcome=~"provider_error|own_error|shed|cut"'
# What counts for an objective: requests that the caller got wrong or left do not.
COUNTED = 'outcome!~"client_error|cancelled"'


@dataclass(frozen=True)
class Query:
    """A query and the name of each of its series, as Grafana's legend has it; and whether Grafana asks for the traces in its buckets."""

    expr: str
    legend: str
    exemplars: bool = False


QUERIES: dict[str, Query] = {}


def query(name, legend, expr, exemplars=False):
    for word, text in (SELECTORS | WINDOWS).items():
        expr = expr.replace(word, text)
    assert name not in QUERIES, name
    QUERIES[name] = Query(" ".join(expr.split()), legend, exemplars)


def quantiles(name, family, selector, legend="", of=(0.5, 0.95, 0.99), exemplars=False):
    """One query for each quantile of a histogram: NAME_p50 and so on. `exemplars`: the histogram has traces in its buckets, which the
    last of these shows: those of one would be drawn over those of the next."""
    for quantile in of:
        share = f"p{quantile * 100:g}"
        query(f"{name}_{share}", f"{legend} {share}".strip(), f"""
            histogram_quantile({quantile}, sum by (le) (rate({family}_bucket{{{selector}}}[RATE])))""", exemplars and quantile == of[-1])


# --- requests, as the app sees them ---
query("requests", "requests", "sum(increase(bowsprit_requests_total{POD}[RANGE]))")
query("requests_rate", "requests", "sum(rate(bowsprit_requests_total{POD}[RATE]))")
query("requests_by_outcome", "{{outcome}}", "sum by (outcome) (rate(bowsprit_requests_total{POD}[RATE]))")
query("requests_by_dialect", "{{dialect}}", "sum by (dialect) (rate(bowsprit_requests_received_total{POD}[RATE]))")
query("requests_by_workload", "{{namespace}}/{{workload}}", "sum by (namespace, workload) (increase(bowsprit_requests_total{POD}[RANGE]))")
query("requests_by_code", "{{code}}", '60 * sum by (code) (rate(bowsprit_requests_total{POD, code!=""}[RATE]))')
query("requests_in_flight", "in flight", "sum(bowsprit_in_flight{POD})")
query("sidecars", "sidecars", "count(bowsprit_build_info{POD})")
query("success", "answered", f"""
    sum(increase(bowsprit_requests_total{{POD, outcome="ok"}}[RANGE])) / (sum(increase(bowsprit_requests_total{{POD, {COUNTED}}}[RANGE])) > 0)""")
query("success_by_workload", "{{namespace}}/{{workload}}", f"""
    sum by (namespace, workload) (increase(bowsprit_requests_total{{POD, outcome="ok"}}[RANGE]))
    / (sum by (namespace, workload) (increase(bowsprit_requests_total{{POD, {COUNTED}}}[RANGE])) > 0)""")
query("budget_left", "left", f"""
    1 - (1 - sum(increase(bowsprit_requests_total{{POD, outcome="ok"}}[RANGE]))
      / (sum(increase(bowsprit_requests_total{{POD, {COUNTED}}}[RANGE])) > 0)) / (1 - $objective)""")
for window in ("5m", "1h", "6h"):
    query(f"burn_rate_{window}", window, f"""
        (1 - sum(rate(bowsprit_requests_total{{POD, outcome="ok"}}[{window}]))
          / (sum(rate(bowsprit_requests_total{{POD, {COUNTED}}}[{window}])) > 0)) / (1 - $objective)""")
# Of objects with spec.slo.
query("objectives", "{{object}} {{name}} {{objective}}", """
    sum by (namespace, object, name, objective) (increase(bowsprit_slo_events_total{POD, result="good"}[RANGE]))
    / (sum by (namespace, object, name, objective) (increase(bowsprit_slo_events_total{POD}[RANGE])) > 0)""")
query("objective_events", "{{object}} {{name}} {{objective}}", "sum by (namespace, object, name, objective) (increase(bowsprit_slo_events_total{POD}[RANGE]))")
query("objectives_bad", "{{object}} {{name}} {{objective}}", """
    sum by (object, name, objective) (rate(bowsprit_slo_events_total{POD, result="bad"}[RATE]))
    / (sum by (object, name, objective) (rate(bowsprit_slo_events_total{POD}[RATE])) > 0)""")
quantiles("first_token", "bowsprit_first_token_seconds", "POD", exemplars=True)
quantiles("duration", "bowsprit_request_duration_seconds", "POD", exemplars=True)
quantiles("overhead", "bowsprit_overhead_seconds", "POD", of=(0.5, 0.99))
query("first_token_by_workload", "{{namespace}}/{{workload}}", """
    histogram_quantile(0.95, sum by (le, namespace, workload) (rate(bowsprit_first_token_seconds_bucket{POD}[RANGE])))""")
query("sdk_retries", "SDK retries", "sum(rate(bowsprit_sdk_retries_total{POD}[RATE]))")

query("failures", "{{outcome}} {{code}}", 'sum by (outcome, code) (increase(bowsprit_requests_total{POD, code!=""}[RANGE])) > 0')

# --- providers ---
query("attempts_by_provider", "{{provider}}", "sum by (provider) (rate(bowsprit_attempts_total{MODEL}[RATE]))")
query("attempts_in_range", "{{provider}}", "sum by (provider) (increase(bowsprit_attempts_total{MODEL}[RANGE]))")
query("attempt_failures", "{{provider}} {{code}}", '60 * sum by (provider, code) (rate(bowsprit_attempts_total{MODEL, code!~"ok|cancelled"}[RATE]))')
query("attempt_failures_in_range", "{{provider}} {{code}}", 'sum by (provider, model, code) (increase(bowsprit_attempts_total{MODEL, code!~"ok|cancelled"}[RANGE])) > 0')
# Of a provider that never answered there is no series with the code ok.
query("attempt_success", "{{provider}}", """
    1 - (sum by (provider) (increase(bowsprit_attempts_total{MODEL, code!~"ok|cancelled"}[RANGE])) or 0 * sum by (provider) (increase(bowsprit_attempts_total{MODEL}[RANGE])))
    / (sum by (provider) (increase(bowsprit_attempts_total{MODEL, code!="cancelled"}[RANGE])) > 0)""")
query("attempt_seconds", "{{provider}}", """
    sum by (provider) (rate(bowsprit_attempt_seconds_total{PROVIDER}[RATE]))
    / (sum by (provider) (rate(bowsprit_attempts_total{PROVIDER, code!="cancelled"}[RATE])) > 0)""")
query("attempt_seconds_in_range", "{{provider}}", """
    sum by (provider) (increase(bowsprit_attempt_seconds_total{PROVIDER}[RANGE]))
    / (sum by (provider) (increase(bowsprit_attempts_total{PROVIDER, code!="cancelled"}[RANGE])) > 0)""")
query("attempts_per_request", "attempts", """
    sum(increase(bowsprit_attempts_total{POD}[RANGE])) / (sum(increase(bowsprit_requests_total{POD, outcome!~"shed|client_error"}[RANGE])) > 0)""")
for share, word in ((0.5, "p50"), (0.95, "p95")):
    query(f"first_chunk_{word}", "{{gen_ai_provider_name}} " + word, f"""
        histogram_quantile({share}, sum by (le, gen_ai_provider_name) (rate(gen_ai_client_operation_time_to_first_chunk_seconds_bucket{{POD}}[RATE])))""")
query("pause_p99", "{{gen_ai_provider_name}}", """
    histogram_quantile(0.99, sum by (le, gen_ai_provider_name) (rate(gen_ai_client_operation_time_per_output_chunk_seconds_bucket{POD}[RATE])))""")
query("provider_in_flight", "{{provider}}", "sum by (provider) (bowsprit_provider_in_flight{PROVIDER})")
query("provider_score", "{{provider}}", "avg by (provider) (bowsprit_provider_score{PROVIDER})")
query("provider_healthy", "{{provider}}", "avg by (provider) (bowsprit_provider_healthy{PROVIDER})")
query("probes", "{{provider}} {{result}}", "60 * sum by (provider, result) (rate(bowsprit_probes_total{PROVIDER}[RATE]))")
query("connections_reused", "reused", """
    sum(rate(bowsprit_provider_connections_reused_total{POD}[RATE]))
    / (sum(rate(bowsprit_provider_connections_reused_total{POD}[RATE])) + sum(rate(bowsprit_provider_connections_opened_total{POD}[RATE])) > 0)""")

# --- what is done about failures ---
query("breakers", "{{provider}} {{model}}", "max by (provider, model) (bowsprit_breaker_state{MODEL})")
query("breakers_open", "open", "sum(bowsprit_breaker_state{MODEL} == bool 2)")
query("breaker_changes", "{{provider}} {{to}}: {{cause}}", "60 * sum by (provider, to, cause) (rate(bowsprit_breaker_transitions_total{MODEL}[RATE]))")
query("retries", "{{provider}} {{code}}", "60 * sum by (provider, code) (rate(bowsprit_retries_total{PROVIDER}[RATE]))")
query("retries_denied", "{{provider}}", "60 * sum by (provider) (rate(bowsprit_retries_denied_total{PROVIDER}[RATE]))")
query("fallbacks", "{{provider}} {{code}}", "60 * sum by (provider, code) (rate(bowsprit_fallbacks_total{PROVIDER}[RATE]))")
query("hedges", "{{provider}} {{outcome}}", "60 * sum by (provider, outcome) (rate(bowsprit_hedges_total{PROVIDER}[RATE]))")
query("stale_answers", "{{route}} {{result}}", "60 * sum by (route, result) (rate(bowsprit_stale_answers_total{POD}[RATE]))")
query("kept_bytes", "{{route}}", "sum by (route) (bowsprit_kept_answers_bytes{POD})")
query("keys_missing", "{{provider}}", "max by (provider) (bowsprit_keys_configured{PROVIDER} - bowsprit_keys_usable{PROVIDER})")
query("keys_set_aside", "{{provider}} {{why}}", "60 * sum by (provider, why) (rate(bowsprit_keys_set_aside_total{PROVIDER}[RATE]))")

# --- tokens ---
for kind in ("input", "output"):
    query(f"tokens_{kind}", kind, f'sum(increase(bowsprit_tokens_total{{MODEL, kind="{kind}"}}[RANGE]))')
query("tokens_by_model", "{{provider}} {{model}}", """
    60 * sum by (provider, model) (rate(bowsprit_tokens_total{MODEL, kind=~"input|output"}[RATE]))""")
query("tokens_by_kind", "{{kind}}", "60 * sum by (kind) (rate(bowsprit_tokens_total{MODEL}[RATE]))")
query("tokens_by_workload", "{{namespace}}/{{workload}}", """
    sum by (namespace, workload) (increase(bowsprit_tokens_total{MODEL, kind=~"input|output"}[RANGE]))""")
query("tokens_table", "{{provider}} {{model}} {{kind}}", "sum by (provider, model, kind) (increase(bowsprit_tokens_total{MODEL}[RANGE]))")
query("tokens_cached", "{{provider}}", """
    sum by (provider) (increase(bowsprit_tokens_total{MODEL, kind="cached"}[RANGE]))
    / (sum by (provider) (increase(bowsprit_tokens_total{MODEL, kind="input"}[RANGE])) > 0)""")
query("tokens_estimated", "estimated", """
    sum(increase(bowsprit_estimated_tokens_total{PROVIDER}[RANGE]))
    / (sum(increase(bowsprit_estimated_tokens_total{PROVIDER}[RANGE]))
      + sum(increase(bowsprit_tokens_total{PROVIDER, kind=~"input|output"}[RANGE])) > 0)""")
query("tokens_estimated_by_provider", "{{provider}} {{kind}}", "60 * sum by (provider, kind) (rate(bowsprit_estimated_tokens_total{PROVIDER}[RATE]))")
for kind in ("input", "output"):
    query(f"tokens_per_exchange_{kind}", "{{gen_ai_provider_name}} " + kind, f"""
        histogram_quantile(0.95, sum by (le, gen_ai_provider_name)
          (rate(gen_ai_client_token_usage_bucket{{POD, gen_ai_token_type="{kind}"}}[RATE])))""")
query("tokens_per_second", "{{provider}}", """
    sum by (provider) (rate(bowsprit_tokens_total{PROVIDER, kind="output"}[RATE]))
    / (sum by (provider) (rate(bowsprit_attempt_seconds_total{PROVIDER}[RATE])) > 0)""")

# --- cost, in US dollars ---
query("cost", "cost", "sum(increase(bowsprit_cost_usd_total{MODEL}[RANGE])) or vector(0)")
query("cost_by_model", "{{provider}} {{model}}", "3600 * sum by (provider, model) (rate(bowsprit_cost_usd_total{MODEL}[RATE]))")
query("cost_table", "{{provider}} {{model}}", "sum by (provider, model) (increase(bowsprit_cost_usd_total{MODEL}[RANGE])) > 0")
query("cost_tokens", "{{provider}} {{model}}", 'sum by (provider, model) (increase(bowsprit_tokens_total{MODEL, kind=~"input|output"}[RANGE])) > 0')
query("cost_by_workload", "{{namespace}}/{{workload}}", "sum by (namespace, workload) (increase(bowsprit_cost_usd_total{MODEL}[RANGE]))")
query("cost_unknown", "{{provider}} {{why}}", "60 * sum by (provider, why) (rate(bowsprit_cost_unknown_attempts_total{PROVIDER}[RATE]))")
query("cost_unknown_in_range", "unknown", "sum(increase(bowsprit_cost_unknown_attempts_total{PROVIDER}[RANGE])) or vector(0)")

# --- limits ---
query("limited", "{{provider}} {{limit}}", "60 * sum by (provider, limit) (rate(bowsprit_rate_limited_total{PROVIDER}[RATE]))")
query("limited_in_range", "at a limit", "sum(increase(bowsprit_rate_limited_total{PROVIDER}[RANGE])) or vector(0)")
query("limit_wait", "{{provider}}", """
    sum by (provider) (rate(bowsprit_limit_wait_seconds_total{PROVIDER}[RATE]))
    / (sum by (provider) (rate(bowsprit_rate_limited_total{PROVIDER}[RATE])) > 0)""")
query("headroom", "{{provider}} {{of}}", "min by (provider, of) (bowsprit_provider_headroom{PROVIDER})")
query("left_out", "{{provider}} {{what}}", "sum by (provider, what) (increase(bowsprit_left_out_total{PROVIDER}[RANGE]))")
query("request_bytes", "requests", "sum(rate(bowsprit_request_body_bytes_total{POD}[RATE]))")
query("answer_bytes", "answers", "sum(rate(bowsprit_answer_body_bytes_total{POD}[RATE]))")

# --- the sidecars themselves ---
query("sidecar_memory", "{{namespace}}/{{workload}}", "max by (namespace, workload) (process_resident_memory_bytes{POD} and on (instance) bowsprit_build_info)")
query("sidecar_cpu", "{{namespace}}/{{workload}}", "max by (namespace, workload) (rate(process_cpu_seconds_total{POD}[RATE]) and on (instance) bowsprit_build_info)")
query("sidecar_busy", "{{namespace}}/{{workload}}", "max by (namespace, workload) (rate(bowsprit_runtime_busy_seconds_total{POD}[RATE]))")
query("sidecar_descriptors", "{{namespace}}/{{workload}}", """
    max by (namespace, workload) (process_open_fds{POD} / process_max_fds{POD} and on (instance) bowsprit_build_info)""")
query("sidecar_held", "{{namespace}}/{{workload}}", "max by (namespace, workload) (bowsprit_held_bytes{POD} / bowsprit_held_bytes_limit{POD})")
query("sidecar_log_lost", "log lines lost", "sum(increase(bowsprit_log_lines_lost_total{POD}[RANGE]))")
query("sidecar_folded", "labels folded", "sum(increase(bowsprit_metrics_folded_total{POD}[RANGE]))")
query("sidecar_accept_errors", "not accepted", "sum(increase(bowsprit_accept_errors_total{POD}[RANGE])) or vector(0)")
query("sidecar_restarts", "{{namespace}}/{{workload}}", "sum by (namespace, workload) (changes(process_start_time_seconds{POD}[RANGE]) and on (instance) bowsprit_build_info)")

# --- the ledger's outbox in the sidecars ---
query("ledger_entries", "{{fate}}", "60 * sum by (fate) (rate(bowsprit_ledger_entries_total{POD}[RATE]))")
query("ledger_bytes", "not taken", "sum(bowsprit_ledger_bytes{POD})")
query("ledger_batches", "{{answer}}", "60 * sum by (answer) (rate(bowsprit_ledger_batches_total{POD}[RATE]))")
query("ledger_failures", "failures", "sum(increase(bowsprit_ledger_failures_total{POD}[RANGE])) or vector(0)")

# --- configuration, as the sidecars have it ---
query("config_revisions", "{{namespace}} {{revision}}", "count by (namespace, revision) (bowsprit_config_revision{POD})")
query("config_behind", "behind", """
    sum(bowsprit_config_sequence{POD} < bool on (namespace) group_left max by (namespace) (bowsprit_config_sequence{POD}))""")
query("config_not_in_service", "not in service", "count(bowsprit_config_synced{POD}) - sum(bowsprit_config_synced{POD})")
query("config_no_stream", "without a stream", "count(bowsprit_config_stream_connected{POD}) - sum(bowsprit_config_stream_connected{POD})")
query("config_loaded", "taken", "60 * sum(rate(bowsprit_config_loaded_total{POD}[RATE]))")
query("config_rejected", "refused", "60 * sum(rate(bowsprit_config_rejected_total{POD}[RATE]))")
query("config_stream_ended", "{{ended}}", "60 * sum by (ended) (rate(bowsprit_config_stream_ended_total{POD}[RATE]))")

# --- the operators ---
query("operators", "running", "count(bowsprit_operator_leader)")
query("operator_leaders", "leading", "sum(bowsprit_operator_leader)")
query("operator_streams", "{{pod}}", "sum by (pod) (bowsprit_operator_streams_open)")
query("operator_certificate", "left", "min(bowsprit_operator_webhook_certificate_not_after_seconds > 0) - time()")
query("operator_reconciles", "looks", "sum(rate(bowsprit_operator_reconciles_total[RATE]))")
query("operator_reconcile_failures", "failed", "sum(rate(bowsprit_operator_reconcile_failures_total[RATE]))")
query("operator_config_writes", "ConfigMaps", "60 * sum(rate(bowsprit_operator_config_writes_total[RATE]))")
query("operator_status_writes", "statuses", "60 * sum(rate(bowsprit_operator_status_writes_total[RATE]))")
query("operator_nudges", "nudges", "60 * sum(rate(bowsprit_operator_nudges_total[RATE]))")
quantiles("operator_reconcile", "bowsprit_operator_reconcile_duration_seconds", "", of=(0.5, 0.99))
quantiles("operator_push", "bowsprit_operator_stream_push_seconds", "", of=(0.5, 0.99))
quantiles("operator_admission", "bowsprit_operator_admission_seconds", "", of=(0.5, 0.99))
quantiles("operator_validation", "bowsprit_operator_validation_seconds", "", legend="validation", of=(0.99,))
query("operator_admissions", "pods: {{result}}", "60 * sum by (result) (rate(bowsprit_operator_admissions_total[RATE]))")
query("operator_validations", "objects: {{result}}", "60 * sum by (result) (rate(bowsprit_operator_validations_total[RATE]))")
query("operator_stream_requests", "{{result}}", "60 * sum by (result) (rate(bowsprit_operator_stream_requests_total[RATE]))")
query("operator_streams_ended", "{{reason}}", "60 * sum by (reason) (rate(bowsprit_operator_streams_ended_total[RATE]))")
query("operator_token_reviews", "{{result}}", "60 * sum by (result) (rate(bowsprit_operator_token_reviews_total[RATE]))")
query("operator_watchdog", "{{reason}}", "sum by (reason) (bowsprit_operator_watchdog_objects)")

# --- named limits of ModelRoutes and UsagePolicies ---
query("refused_by_limits", "refused", 'sum(increase(bowsprit_limit_requests_total{POD, met="refused"}[RANGE])) or vector(0)')
query("limit_refuses", "{{namespace}} {{limit_name}}", '60 * sum by (namespace, limit_name) (rate(bowsprit_limit_requests_total{POD, met="refused"}[RATE]))')
query("limit_refused_share", "{{namespace}} {{limit_name}}", """
    sum by (namespace, limit_name) (rate(bowsprit_limit_requests_total{POD, met="refused"}[RATE]))
    / (sum by (namespace, limit_name) (rate(bowsprit_limit_requests_total{POD, met=~"admitted|diverted|refused"}[RATE])) > 0)""")
for met in ("admitted", "waited", "diverted", "refused"):
    query(f"limit_{met}_by_workload", "{{namespace}}/{{workload}} {{limit_name}}", f"""
        sum by (namespace, workload, limit_name) (increase(bowsprit_limit_requests_total{{POD, met="{met}"}}[RANGE]))""")
query("limit_waiting", "{{namespace}} {{limit_name}}", "sum by (namespace, limit_name) (bowsprit_limits_waiting{POD})")
query("limit_line", "{{namespace}} {{limit_name}}", """
    sum by (namespace, limit_name) (rate(bowsprit_limit_line_seconds_total{POD}[RATE]))
    / (sum by (namespace, limit_name) (rate(bowsprit_limit_requests_total{POD, met="waited"}[RATE])) > 0)""")
query("limit_estimates", "{{namespace}} {{limit_name}}", """
    sum by (namespace, limit_name) (rate(bowsprit_limit_tokens_total{POD, counted="used"}[RATE]))
    / (sum by (namespace, limit_name) (rate(bowsprit_limit_tokens_total{POD, counted="reserved"}[RATE])) > 0)""")

# --- limits of the fleet, and the stores that count them ---
query("share_wanted", "{{namespace}} {{provider}} {{limit}} wanted", "sum by (namespace, provider, limit) (bowsprit_share_wanted{POD})")
query("share_lent", "{{namespace}} {{provider}} {{limit}} lent", "sum by (namespace, provider, limit) (bowsprit_share{POD})")
query("share_floors", "{{namespace}} {{provider}} {{limit}}", "sum by (namespace, provider, limit) (bowsprit_share_floor{POD})")
query("stores_away", "away", "count(bowsprit_store_answers{POD} == 0) or vector(0)")
query("store_away", "{{namespace}} {{provider}}", "sum by (namespace, provider) (1 - bowsprit_store_answers{POD})")
query("store_fallbacks", "{{namespace}} {{provider}}", "60 * sum by (namespace, provider) (rate(bowsprit_store_fallbacks_total{POD}[RATE]))")

# --- budgets ---
query("budget_fullest", "spent", "max(bowsprit_budget_spent_ratio{POD}) or vector(0)")
query("budget_spent", "{{namespace}} {{budget_name}}", "max by (namespace, budget_name) (bowsprit_budget_spent_ratio{POD})")
query("budget_beyond", "{{namespace}} {{budget_name}}: {{beyond}}", "60 * sum by (namespace, budget_name, beyond) (rate(bowsprit_budget_beyond_requests_total{POD}[RATE]))")
query("beyond_budgets", "beyond", 'sum(increase(bowsprit_budget_beyond_requests_total{POD, beyond=~"stopped|diverted"}[RANGE])) or vector(0)')
for beyond in ("over", "diverted", "stopped"):
    query(f"budget_{beyond}_by_workload", "{{namespace}}/{{workload}} {{budget_name}}", f"""
        sum by (namespace, workload, budget_name) (increase(bowsprit_budget_beyond_requests_total{{POD, beyond="{beyond}"}}[RANGE]))""")
query("cost_of_workloads", "{{namespace}}/{{workload}}", "3600 * sum by (namespace, workload) (rate(bowsprit_cost_usd_total{POD}[RATE]))")
query("cost_of_models", "{{provider}} {{model}}", "topk(10, sum by (provider, model) (increase(bowsprit_cost_usd_total{POD}[RANGE]))) > 0")
query("runaways", "{{namespace}}/{{workload}} {{met}}", '60 * sum by (namespace, workload, met) (rate(bowsprit_limit_requests_total{POD, limit_name=~"policy/.+/runaway"}[RATE]))')
query("paused", "{{namespace}}/{{workload}}", '60 * sum by (namespace, workload) (rate(bowsprit_requests_total{POD, code="BIZ_PAUSED"}[RATE]))')

# --- access rules and guards ---
query("denied_by_rules", "denied", 'sum(increase(bowsprit_access_decisions_total{POD, decision="denied"}[RANGE])) or vector(0)')
query("access_denies", "{{namespace}} {{rule}}: {{decision}}", """
    60 * sum by (namespace, rule, decision) (rate(bowsprit_access_decisions_total{POD, decision=~"denied|would_deny|undecided"}[RATE]))""")
for decision in ("denied", "would_deny", "undecided"):
    query(f"access_{decision}_by_workload", "{{namespace}}/{{workload}} {{rule}}", f"""
        sum by (namespace, workload, rule) (increase(bowsprit_access_decisions_total{{POD, decision="{decision}"}}[RANGE]))""")
query("found_by_guards", "found", "sum(increase(bowsprit_guard_findings_total{POD}[RANGE])) or vector(0)")
query("guard_finds", "{{namespace}} {{guard}}: {{decision}}", "60 * sum by (namespace, guard, decision) (rate(bowsprit_guard_findings_total{POD}[RATE]))")
query("guard_by_workload", "{{namespace}}/{{workload}} {{guard}} {{decision}}", """
    sum by (namespace, workload, guard, decision) (increase(bowsprit_guard_findings_total{POD}[RANGE])) > 0""")
query("guard_service_time", "{{namespace}} {{guard}}", """
    sum by (namespace, guard) (rate(bowsprit_guard_service_seconds_total{POD}[RATE]))
    / (sum by (namespace, guard) (rate(bowsprit_guard_service_questions_total{POD}[RATE])) > 0)""")
query("guard_undecided", "{{namespace}} {{guard}}: {{decision}}", """
    60 * sum by (namespace, guard, decision) (rate(bowsprit_guard_findings_total{POD, decision=~".+_(timeout|unreachable|status|answer|too_large|key|unread|not_asked)"}[RATE]))""")
query("shadow", "would be refused", """
    (sum(increase(bowsprit_access_decisions_total{POD, decision="would_deny"}[RANGE])) or vector(0))
    + (sum(increase(bowsprit_guard_findings_total{POD, decision="would_refuse"}[RANGE])) or vector(0))""")

# --- caches ---
query("cache_saved_cost", "saved", "sum(increase(bowsprit_cache_saved_cost_usd_total{POD}[RANGE])) or vector(0)")
query("cache_saved_tokens", "saved", "sum(increase(bowsprit_cache_saved_tokens_total{POD}[RANGE])) or vector(0)")
query("cache_saved", "{{namespace}} {{route}}", "3600 * sum by (namespace, route) (rate(bowsprit_cache_saved_cost_usd_total{POD}[RATE]))")
query("cache_hit_share_of_all", "hits", """
    sum(increase(bowsprit_cache_requests_total{POD, result=~"hit|shared"}[RANGE])) / (sum(increase(bowsprit_cache_requests_total{POD, result=~"hit|shared|miss"}[RANGE])) > 0)""")
query("cache_hit_share", "{{namespace}} {{route}}", """
    sum by (namespace, route) (rate(bowsprit_cache_requests_total{POD, result=~"hit|shared"}[RATE]))
    / (sum by (namespace, route) (rate(bowsprit_cache_requests_total{POD, result=~"hit|shared|miss"}[RATE])) > 0)""")
query("cache_results", "{{result}}", "60 * sum by (result) (rate(bowsprit_cache_requests_total{POD}[RATE]))")
query("cache_bypasses", "{{reason}}", "60 * sum by (reason) (rate(bowsprit_cache_bypasses_total{POD}[RATE]))")
query("cache_fates", "{{fate}}", "60 * sum by (fate) (rate(bowsprit_cache_answers_total{POD}[RATE]))")
query("cache_bytes", "{{namespace}} {{route}}", "sum by (namespace, route) (bowsprit_cache_bytes{POD})")
query("cache_table_hits", "{{namespace}} {{route}}", 'sum by (namespace, route) (increase(bowsprit_cache_requests_total{POD, result=~"hit|shared"}[RANGE]))')
query("cache_table_misses", "{{namespace}} {{route}}", 'sum by (namespace, route) (increase(bowsprit_cache_requests_total{POD, result="miss"}[RANGE]))')
query("cache_table_bypasses", "{{namespace}} {{route}}", 'sum by (namespace, route) (increase(bowsprit_cache_requests_total{POD, result="bypass"}[RANGE]))')
query("cache_table_saved", "{{namespace}} {{route}}", "sum by (namespace, route) (increase(bowsprit_cache_saved_cost_usd_total{POD}[RANGE]))")
query("cache_table_entries", "{{namespace}} {{route}}", "sum by (namespace, route) (bowsprit_cache_entries{POD})")
query("cache_store", "{{result}}", "60 * sum by (result) (rate(bowsprit_cache_store_total{POD}[RATE]))")
query("cache_store_hits", "hits", """
    (sum(rate(bowsprit_cache_store_total{POD, result="hit"}[RATE])) or vector(0)) / (sum(rate(bowsprit_cache_store_total{POD, result=~"hit|miss"}[RATE])) > 0)""")
query("cache_store_fails", "not answered", """
    sum(increase(bowsprit_cache_store_total{POD, result=~"unasked|late|unreachable|refused|garbled|moved|full"}[RANGE])) or vector(0)""")

# --- vectors ---
query("embedding_hit_share", "{{namespace}} {{route}}", """
    sum by (namespace, route) (rate(bowsprit_embedding_cache_inputs_total{POD, result="hit"}[RATE]))
    / (sum by (namespace, route) (rate(bowsprit_embedding_cache_inputs_total{POD}[RATE])) > 0)""")
query("embedding_hits", "hits", """
    sum(increase(bowsprit_embedding_cache_inputs_total{POD, result="hit"}[RANGE])) / (sum(increase(bowsprit_embedding_cache_inputs_total{POD}[RANGE])) > 0)""")
query("embedding_entries", "{{namespace}} {{route}}", "sum by (namespace, route) (bowsprit_embedding_cache_entries{POD})")
query("embedding_bytes", "{{namespace}} {{route}}", "sum by (namespace, route) (bowsprit_embedding_cache_bytes{POD})")
query("refill_done", "{{namespace}} {{route}}", """
    sum by (namespace, route) (bowsprit_embedding_refill_filled{POD}) / (sum by (namespace, route) (bowsprit_embedding_refill_known{POD}) > 0)""")
query("refill_waiting", "{{namespace}} {{route}}", "sum by (namespace, route) (bowsprit_embedding_refill_queue_depth{POD})")
query("refill_jobs", "{{route}}: {{status}}", "60 * sum by (route, status) (rate(bowsprit_embedding_refill_jobs_total{POD}[RATE]))")

# --- answers to what is alike ---
query("semantic_hits", "hits", """
    sum(increase(bowsprit_semantic_cache_results_total{POD, result="hit"}[RANGE]))
    / (sum(increase(bowsprit_semantic_cache_results_total{POD, result=~"hit|far|none|right|wrong|unsure"}[RANGE])) > 0)""")
query("semantic_results", "{{route}}: {{result}}", "60 * sum by (route, result) (rate(bowsprit_semantic_cache_results_total{POD}[RATE]))")
query("semantic_right", "{{namespace}} {{route}}", """
    sum by (namespace, route) (increase(bowsprit_semantic_cache_results_total{POD, result="right"}[RANGE]))
    / (sum by (namespace, route) (increase(bowsprit_semantic_cache_results_total{POD, result=~"right|wrong"}[RANGE])) > 0)""")
query("semantic_similarity", "{{namespace}} {{route}}", """
    sum by (namespace, route) (rate(bowsprit_semantic_cache_similarity_total{POD}[RATE]))
    / (sum by (namespace, route) (rate(bowsprit_semantic_cache_results_total{POD, result="hit"}[RATE])) > 0)""")
query("semantic_errors", "{{reason}}", "60 * sum by (reason) (rate(bowsprit_semantic_cache_errors_total{POD}[RATE]))")
query("semantic_seconds", "{{operation}}", """
    sum by (operation) (rate(bowsprit_semantic_cache_operation_seconds_total{POD}[RATE]))
    / (sum by (operation) (rate(bowsprit_semantic_cache_operations_total{POD}[RATE])) > 0)""")
query("semantic_entries", "{{namespace}} {{route}}", "sum by (namespace, route) (bowsprit_semantic_cache_entries{POD})")
query("semantic_bytes", "{{namespace}} {{route}}", "sum by (namespace, route) (bowsprit_semantic_cache_bytes{POD})")

# --- background jobs ---
query("jobs", "{{status}}", "sum by (status) (bowsprit_jobs{POD})")
query("jobs_queued", "{{namespace}}/{{workload}}", 'sum by (namespace, workload) (bowsprit_jobs{POD, status="queued"})')
query("jobs_waiting", "queued", 'sum(bowsprit_jobs{POD, status="queued"}) or vector(0)')
