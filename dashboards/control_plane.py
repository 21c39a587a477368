"""Control plane: the operators, the way of a configuration to the sidecars, and the sidecars as processes."""

from grafana import GREEN, ORANGE, RED, YELLOW, bargauge, dashboard, per_minute, stat, steps, table, timeseries
from variables import NAMESPACE, WORKLOAD

ANY_IS_BAD = steps(GREEN, (1, RED))

DASHBOARD = dashboard(
    "bowsprit-control-plane", "Bowsprit / Control plane and ledger",
    "The operators, the way of a configuration to the sidecars, and the sidecars as processes.",
    [
        ("Now", [
            stat("Operators", "Operators that Prometheus scrapes.", "operators", unit="short", thresholds=steps(RED, (1, ORANGE), (2, GREEN))),
            stat("Leading", "One of them leads, reconciles and writes; with none, changes reach nobody.", "operator_leaders", unit="short", thresholds=steps(RED, (1, GREEN), (2, RED))),
            stat("Certificate ends in", "The webhook's. It is renewed 12 hours before its end.", "operator_certificate", unit="s", thresholds=steps(RED, (21600, ORANGE), (39600, GREEN))),
            stat("Sidecars without a stream", "A change reaches them by the mounted folder alone, which takes longer.", "config_no_stream", unit="short", thresholds=steps(GREEN, (1, ORANGE))),
            stat("Sidecars behind", "Sidecars whose configuration is older than that of others of their namespace.", "config_behind", unit="short", thresholds=steps(GREEN, (1, ORANGE))),
            stat("Newest not in service", "Sidecars that refused or ignored the newest configuration that they have seen; /health says why.", "config_not_in_service", unit="short", thresholds=ANY_IS_BAD),
        ]),
        ("Configuration on its way", [
            table("Configurations in service", "Sidecars by the revision that they have. One revision for each namespace, once a change has arrived everywhere (pods that podSelectors tell apart have the same).",
                  {"config_revisions": ("Sidecars", "none", None)}, keys={"namespace": "Namespace", "revision": "Revision"}, width=8),
            per_minute("Taken and refused", "Configurations a minute, by all sidecars.", ["config_loaded", "config_rejected"]),
            timeseries("From change to stream", "From the watch's word of a change to the end of its writing to one stream.", ["operator_push_p50", "operator_push_p99"], unit="s"),
            timeseries("Streams", "Open config streams by operator.", ["operator_streams"], unit="short", stack=True),
            per_minute("Requests for a stream", "A minute, by what became of them.", ["operator_stream_requests"]),
            per_minute("Streams ended", "A minute, by why, as operators see it.", ["operator_streams_ended"]),
            per_minute("Streams ended, as sidecars see it", "A minute, attempts that made none included.", ["config_stream_ended"]),
            per_minute("Tokens judged", "A minute, by what the apiserver said or from memory.", ["operator_token_reviews"]),
            per_minute("Written by the leader", "ConfigMaps, statuses and nudges of kubelets, a minute.", ["operator_config_writes", "operator_status_writes", "operator_nudges"]),
        ]),
        ("Operators", [
            timeseries("Looks at namespaces", "Reconciles a second, and those that failed and are tried again.", ["operator_reconciles", "operator_reconcile_failures"], unit="ops"),
            timeseries("Duration of a look", "Of one reconcile of a namespace.", ["operator_reconcile_p50", "operator_reconcile_p99"], unit="s"),
            per_minute("Reviews by the webhook", "A minute: pods that ask for a sidecar, and changes of ProviderConfigs and ModelRoutes.", ["operator_admissions", "operator_validations"]),
            timeseries("Duration of a review", "A pod's start waits for it.", ["operator_admission_p50", "operator_admission_p99", "operator_validation_p99"], unit="s", limits=True, thresholds=steps(GREEN, (1, RED))),
            bargauge("Events stand", "Pods, workloads and namespaces that an Event was written about and that are still so: no sidecar, past the sidecar, a setting that nobody reads.", "operator_watchdog", unit="short",
                     width=16, thresholds=steps(GREEN, (1, ORANGE)), least=0),
        ]),
        ("Ledger", [
            per_minute("Entries", "Of requests and attempts a minute, by what became of them in the sidecars' outboxes: detail is kept as it is; spilled and folded are added up; lost will never reach the ledger service.",
                       ["ledger_entries"]),
            per_minute("Batches", "For the ledger service, a minute, by its answer.", ["ledger_batches"]),
            timeseries("Waiting", "Bytes of entries in outboxes that the ledger service has not taken. They grow while it is away.", ["ledger_bytes"], unit="bytes", width=5),
            stat("Outbox failures", "Times that an outbox could not be written, or was found damaged and begun anew.", "ledger_failures", unit="short", width=3, height=8, decimals=0, thresholds=ANY_IS_BAD),
        ]),
        ("Sidecars as processes", [
            timeseries("Memory", "Of the sidecar that uses most, by workload; compare with the container's limit (128Mi unless set).", ["sidecar_memory"], unit="bytes"),
            timeseries("CPU", "Of the busiest sidecar of a workload, in cores.", ["sidecar_cpu"], unit="none"),
            timeseries("Busy", "Time a second that the busiest sidecar's threads were not idle; near 1 for each thread, the sidecar itself is what is slow.", ["sidecar_busy"], unit="none"),
            timeseries("Memory for bodies", "Share of what may be held.", ["sidecar_held"], unit="percentunit", limits=True, thresholds=steps(GREEN, (0.8, RED)), most=1),
            timeseries("File descriptors", "Share of what is allowed; at the limit connections are not accepted.", ["sidecar_descriptors"], unit="percentunit", limits=True, thresholds=steps(GREEN, (0.8, RED)), most=1),
            bargauge("Restarts", "Of sidecar processes, in this time range.", "sidecar_restarts", unit="short", thresholds=steps(GREEN, (1, ORANGE), (5, RED)), decimals=0, least=0),
            stat("Log lines lost", "Nobody read them in time.", "sidecar_log_lost", unit="short", width=8, decimals=0, thresholds=steps(GREEN, (1, ORANGE))),
            stat("Labels folded", "Times that something was per_minute under the label other, because a sidecar may have no more series.", "sidecar_folded", unit="short", width=8, decimals=0, thresholds=steps(GREEN, (1, YELLOW))),
            stat("Connections not accepted", "For want of file descriptors or memory.", "sidecar_accept_errors", unit="short", width=8, decimals=0, thresholds=ANY_IS_BAD),
        ]),
    ],
    [NAMESPACE, WORKLOAD],
)
