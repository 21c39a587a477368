"""Caches and jobs: what is answered without asking a provider, what that saves, and what is to be answered later."""

from grafana import BLUE, GREEN, ORANGE, RED, YELLOW, bargauge, dashboard, per_minute, stat, steps, table, timeseries
from variables import NAMESPACE, WORKLOAD

PLAIN = steps(BLUE)

DASHBOARD = dashboard(
    "bowsprit-caches", "Bowsprit / Caches and jobs",
    "What is answered without asking a provider, what that saves, whether what is alike is answered rightly, and what is to be answered later.",
    [
        ("In this time range", [
            stat("Saved", "What the answers given from a cache cost when they were asked for, where that is known.", "cache_saved_cost", unit="currencyUSD", decimals=4, thresholds=PLAIN),
            stat("Tokens saved", "Those that the answers given from a cache were billed with.", "cache_saved_tokens", unit="short", decimals=0, thresholds=PLAIN),
            stat("Answered from the cache", "Share of the requests that may be: kept answers, and those of the same request under way. What goes by the cache does not count.", "cache_hit_share_of_all",
                 unit="percentunit", decimals=1, thresholds=PLAIN),
            stat("Inputs with kept vectors", "Share of the inputs of requests for embeddings.", "embedding_hits", unit="percentunit", decimals=1, thresholds=PLAIN),
            stat("Answered as alike", "Share of the questions that no kept answer was the same to, and that were compared.", "semantic_hits", unit="percentunit", decimals=1, thresholds=PLAIN),
            stat("Jobs in line", "Background jobs that wait for their turn or their next attempt, now.", "jobs_waiting", unit="short", thresholds=steps(GREEN, (100, YELLOW), (900, RED))),
        ]),
        ("The same request", [
            table("Routes with a cache", "Of this time range; entries are those of now.", {
                "cache_table_hits": ("Hits", "none", None),
                "cache_table_misses": ("Misses", "none", None),
                "cache_table_bypasses": ("Bypasses", "none", None),
                "cache_table_saved": ("Saved", "currencyUSD", None),
                "cache_table_entries": ("Entries", "none", None),
            }, keys={"namespace": "Namespace", "route": "Route"}, width=16),
            timeseries("Hits", "Share of a route's requests that may be answered from its cache.", ["cache_hit_share"], unit="percentunit", most=1),
            per_minute("What requests came to", "A minute: hit (a kept answer), shared (the answer of the same request under way), miss, bypass, refused (the caller wanted a kept answer or none).", ["cache_results"]),
            per_minute("Why requests went by the cache", "A minute. docs/caching.md says what each means.", ["cache_bypasses"]),
            per_minute("What became of answers", "A minute. Where much is evicted or finds no room, a route's maxBytes is too low.", ["cache_fates"]),
            timeseries("Saved an hour", "US dollars an hour at the present rate.", ["cache_saved"], unit="currencyUSD", stack=True),
            timeseries("Memory", "Bytes that cached answers take, in all sidecars together.", ["cache_bytes"], unit="bytes"),
            timeseries("Hits in the store", "Share of what was asked for at the store that replicas share, of what was not in memory.", ["cache_store_hits"], unit="percentunit", most=1),
            per_minute("The store", "Answers a minute by what became of them at the store; unasked, late, unreachable, refused, garbled and moved say that it does not do what it should.", ["cache_store"], width=16),
            stat("Store did not answer", "Times that an answer was not looked for or not kept there, as the store did not answer or could not be asked. Requests went on without.", "cache_store_fails",
                 unit="short", height=8, width=8, decimals=0, thresholds=steps(GREEN, (1, ORANGE))),
        ]),
        ("Vectors, input by input", [
            timeseries("Inputs with kept vectors", "Share of a route's inputs whose vectors were kept or being asked for.", ["embedding_hit_share"], unit="percentunit", most=1),
            timeseries("Vectors", "In all sidecars together.", ["embedding_entries"], unit="short"),
            timeseries("Memory of vectors", "In all sidecars together.", ["embedding_bytes"], unit="bytes"),
            bargauge("Next model filled", "Of the inputs that have vectors of the old model, those that need none of the next one any more.", "refill_done", unit="percentunit", thresholds=steps(YELLOW, (1, GREEN)),
                     least=0, most=1),
            timeseries("Inputs in line for the next model", "They are asked for in the background; at 0 the filling is done.", ["refill_waiting"], unit="short"),
            per_minute("Filling", "Inputs a minute by what came of asking for their vectors of the next model; refused waits for a limit or a budget.", ["refill_jobs"]),
        ]),
        ("What is alike", [
            per_minute("What comparing came to", "Questions a minute: hit, far (the nearest was not alike enough), none (there was none to compare with); and of those that were verified: right, wrong, unsure.", ["semantic_results"]),
            bargauge("Right", "Share of the verified answers that say what the kept one said, in this time range. Below 95 % the threshold is too low.", "semantic_right", unit="percentunit",
                     thresholds=steps(RED, (0.95, ORANGE), (0.99, GREEN)), least=0, most=1, decimals=1),
            timeseries("How alike hits are", "Mean of the cosines.", ["semantic_similarity"], unit="none"),
            per_minute("Not compared", "Questions a minute that went on without, by why.", ["semantic_errors"]),
            timeseries("Time in the index", "Of one operation, without asking for vectors.", ["semantic_seconds"], unit="s"),
            timeseries("Questions in the index", "In all sidecars together.", ["semantic_entries"], unit="short", width=4),
            timeseries("Memory of the index", "In all sidecars together.", ["semantic_bytes"], unit="bytes", width=4),
        ]),
        ("Background jobs", [
            timeseries("Jobs", "By how they stand: queued, running, kept (ended, and not yet fetched).", ["jobs"], unit="short", width=12),
            bargauge("In line, by workload", "Jobs that wait. Each pod has those that it was given.", "jobs_queued", unit="short", width=12, decimals=0, thresholds=steps(GREEN, (100, YELLOW), (900, RED)), least=0),
        ]),
    ],
    [NAMESPACE, WORKLOAD],
)
