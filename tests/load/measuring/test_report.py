"""python3 -m unittest discover -s tests/load/measuring -t tests/load"""
import unittest

from . import report, table


def part(cpu_seconds=None, ok=1000, events=0, p50=500, p99=900, bad=0, io=0):
    found = {"ok": ok, "bad": bad, "io": io, "events": events, "requests_per_second": 100.0}
    found["latency_us"] = {"p50": p50, "p99": p99}
    if cpu_seconds is not None:
        found |= {"cpu_seconds": cpu_seconds, "core_share": 0.5}
    return found


def run(contender, number, plain, stream=0.065, rate=0.1, cold=20.0, rss=5.0, bad=0):
    return {
        "contender": contender,
        "setup": "openai",
        "round": number,
        "cold_start_ms": cold,
        "binary_mib": 6.0,
        "rss_idle_mib": rss,
        "rss_loaded_mib": rss + 6.0,
        "plain": [part(plain, bad=bad)],
        "rate": [part(rate, p50=600)] * 2,
        "rate_direct": [part(p50=500)] * 2,
        "stream": [part(stream, ok=50, events=3250)],
    }


def other(setup, number, plain, contender="sidecar"):
    """A run in a setup that is held against nginx in another one."""
    scenarios = {"plain": [part(plain)], "stream": [part(0.065, ok=50, events=3250)]}
    return {"contender": contender, "setup": setup, "round": number, "rss_idle_mib": 5.0, **scenarios}


def held(setup, *turns, lost=0):
    """A run that held connections: (open, closed) MiB of each turn."""
    parts = [{"open_mib": opened, "closed_mib": closed, "bad": 0, "io": lost} for opened, closed in turns]
    return {"contender": "sidecar", "setup": setup, "round": 1, "rss_idle_mib": 5.0, "held": parts}


def judged(runs, setup="openai"):
    return {one["figure"]: one for one in report.judge(report.figures(runs), runs) if one["setup"] == setup}


def verdicts(runs, setup="openai"):
    return {figure: one["verdict"] for figure, one in judged(runs, setup).items()}


class Report(unittest.TestCase):
    def test_a_ratio_is_taken_within_its_round_and_not_between_medians(self):
        # The machine is twice as slow in round 2 and the sidecar 1.5 times nginx in both.
        runs = [run("nginx", 1, 0.020), run("sidecar", 1, 0.030), run("nginx", 2, 0.040), run("sidecar", 2, 0.060)]
        ratios = report.figures(runs)["sidecar", "openai"]["plain_ratio"]
        for ratio in ratios:
            self.assertAlmostEqual(ratio, 1.5)
        self.assertEqual(len(ratios), 2)

    def test_a_streams_time_is_divided_by_its_chunks(self):
        found = report.figures([run("nginx", 1, 0.02)])["nginx", "openai"]
        self.assertAlmostEqual(found["plain_us"][0], 20)
        self.assertAlmostEqual(found["stream_us"][0], 20)

    def test_added_time_is_taken_to_the_direct_runs_between(self):
        self.assertAlmostEqual(report.figures([run("nginx", 1, 0.02)])["nginx", "openai"]["rate_added_p50_ms"][0], 0.1)

    def test_a_tls_or_translated_request_is_held_against_plain_nginx_in_the_same_round(self):
        runs = [run("nginx", 1, 0.020), run("nginx", 2, 0.040)]
        # nginx in the setup itself would be another baseline; it is not the one.
        runs += [other("tls", 1, 0.030, "nginx"), other("tls", 1, 0.026), other("tls", 2, 0.055)]
        runs += [other("openai-gemini", 2, 0.100)]
        found = report.figures(runs)
        for wanted, ratio in zip((1.3, 1.375), found["sidecar", "tls"]["plain_ratio"], strict=True):
            self.assertAlmostEqual(wanted, ratio)
        self.assertAlmostEqual(found["nginx", "tls"]["plain_ratio"][0], 1.5)
        self.assertAlmostEqual(found["sidecar", "openai-gemini"]["plain_ratio"][0], 2.5)
        self.assertEqual(verdicts(runs, "tls"), {"plain_ratio": "pass"})

    def test_without_the_baseline_setups_run_its_dependents_have_no_ratio(self):
        runs = [other("tls", 1, 0.030, "nginx"), other("tls", 1, 0.030)]
        self.assertNotIn("plain_ratio", report.figures(runs)["sidecar", "tls"])
        self.assertEqual(verdicts(runs, "tls"), {"plain_ratio": "not measured"})

    def test_memory_under_many_connections_is_the_most_of_its_turns(self):
        runs = [held("idle", (105.0, 90.0), (110.0, 95.0))]
        own = report.figures(runs)["sidecar", "idle"]
        self.assertEqual((own["held_mib"], own["held_1_closed_mib"], own["held_2_open_mib"]), ([110.0], [90.0], [110.0]))
        self.assertAlmostEqual(own["held_each_kib"][0], 105.0 * 1024 / table.IDLE)
        self.assertEqual(verdicts(runs, "idle"), {"held_mib": "pass"})
        self.assertEqual(verdicts([held("idle", (105.0, 90.0), lost=1)], "idle"), {"held_mib": "miss"})

    def test_targets_are_judged_at_their_very_limit(self):
        nginx = run("nginx", 1, 0.020)
        good = verdicts([nginx, run("sidecar", 1, 0.023, rate=0.115, cold=20.0, rss=5.5)])
        self.assertEqual(set(good.values()), {"pass"})
        bad = verdicts([nginx, run("sidecar", 1, 0.0231, rate=0.116, stream=0.08, cold=20.1, rss=8.1)])
        passed = {figure for figure, verdict in bad.items() if verdict == "pass"}
        self.assertEqual((passed, set(bad.values())), ({"rate_added_p50_ms", "binary_mib"}, {"pass", "miss"}))

    def test_beyond_the_fail_line_is_more_than_a_miss(self):
        nginx = run("nginx", 1, 0.020)
        found = verdicts([nginx, run("sidecar", 1, 0.033, stream=0.0911, rss=12.1)])
        failed = {figure for figure, verdict in found.items() if verdict == "fail"}
        self.assertEqual(failed, {"plain_ratio", "stream_ratio", "rss_idle_mib"})

    def test_the_spread_stands_beside_the_median(self):
        runs = [part for number, cpu in enumerate((0.020, 0.022, 0.026), 1) for part in (run("nginx", number, 0.020), run("sidecar", number, cpu))]
        one = judged(runs)["plain_ratio"]
        self.assertEqual(report._measured(one), "1.10 (1.00–1.30)")

    def test_wrong_answers_or_a_failed_run_pass_nothing(self):
        nginx, sidecar = run("nginx", 1, 0.020), run("sidecar", 1, 0.010)
        failed = {"contender": "sidecar", "setup": "openai", "round": 2, "failed": "no 200"}
        self.assertEqual(set(verdicts([nginx, run("sidecar", 1, 0.01, bad=1)]).values()), {"miss"})
        self.assertEqual(set(verdicts([nginx, sidecar, failed]).values()), {"miss"})
        self.assertEqual(set(verdicts([failed]).values()), {"miss"})

    def test_without_the_baseline_a_ratio_is_not_measured(self):
        found = verdicts([run("sidecar", 1, 0.02)])
        self.assertEqual((found["plain_ratio"], found["rss_idle_mib"]), ("not measured", "pass"))
        self.assertEqual(set(verdicts([run("nginx", 1, 0.02)]).values()), {"not measured"})

    def test_the_markdown_has_every_target_and_says_what_was_left_out(self):
        runs = [run("nginx", 1, 0.020), run("sidecar", 1, 0.040), held("streams", (50.0, 40.0), (51.0, 40.0))]
        state = {"load_average": [0.1], "busy": {0: 0.0, 1: 0.0}}
        text = report.markdown({
            "begun": "today",
            "machine": {"cores": 2, "cpu": "x", "kernel": "6"},
            "options": {"rounds": 1, "seconds": 1.0, "quick": False},
            "contenders": {"nginx": {"version": "1"}, "sidecar": {"version": "2"}},
            "left_out": {"idle": "12000 open files are needed and 1024 allowed"},
            "before": state,
            "after": state,
            "runs": runs,
        })  # fmt: skip
        for target in table.TARGETS:
            self.assertIn(f"| {target.says} | {target.most:g} {target.unit} |", text)
        self.assertIn("2.00 | **FAIL** | 1.6 |", text)
        self.assertIn("| sidecar | 5.0 | 50.0 | 40.0 | 51.0 | 40.0 |", text)
        self.assertIn("**idle was left out**: 12000 open files", text)

    def test_the_table_is_consistent(self):
        setups = {setup.name for setup in table.SETUPS}
        scenarios = {(x.setup, x.name) for x in table.SCENARIOS}
        self.assertEqual(len(scenarios), len(table.SCENARIOS))
        self.assertEqual({setup for setup, _ in scenarios}, setups)
        self.assertLessEqual({setup.baseline_of for setup in table.SETUPS}, setups | {""})
        taking_part = {contender.name: set(contender.setups) for contender in table.CONTENDERS}
        for own in taking_part.values():
            self.assertLessEqual(own, setups)
        for setup in table.SETUPS:
            self.assertLessEqual(set(setup.fill), set(table.FILL))
            self.assertTrue(not setup.baseline_of or setup.baseline_of in taking_part[table.BASELINE])
        for target in table.TARGETS:
            self.assertIn(target.setup, taking_part[target.contender])
            self.assertTrue(target.fails is None or target.fails > target.most)
            # A misspelt figure would be "not measured" for ever.
            names = [x.name for x in table.scenarios_of(target.setup)]
            suffixes = ("us", "ratio", "mib", "added_p50_ms")
            known = {*report.OF_THE_PROCESS, *(f"{name}_{suffix}" for name in names for suffix in suffixes)}
            self.assertIn(target.figure, known)

    def test_a_probe_is_plain_even_where_the_scenario_streams(self):
        self.assertNotIn("stream", table.probe("streams").body)
        self.assertIn("messages", table.probe("streams").body)


if __name__ == "__main__":
    unittest.main()
