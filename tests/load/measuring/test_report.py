"""python3 -m unittest discover -s tests/load/measuring -t tests/load"""
import unittest

from . import report, table


def part(cpu_seconds=None, ok=1000, events=0, p50=500, p99=900, bad=0, io=0):
    found = {"ok": ok, "bad": bad, "io": io, "events": events, "requests_per_second": 100.0}
    found["latency_us"] = {"p50": p50, "p99": p99}
    if cpu_seconds is not None:
        found |= {"cpu_seconds": cpu_seconds, "core_share": 0.5}
    return found


def run(contender, number, plain, stream=0.065, cold=20.0, rss=5.0, bad=0):
    return {
        "contender": contender,
        "setup": "openai",
        "round": number,
        "cold_start_ms": cold,
        "rss_idle_mib": rss,
        "plain": [part(plain, bad=bad)],
        "rate": [part(0.1, p50=600)] * 2,
        "rate_direct": [part(p50=500)] * 2,
        "stream": [part(stream, ok=50, events=3250)],
    }


def verdicts(runs):
    return {one["figure"]: one["verdict"] for one in report.judge(report.figures(runs), runs)}


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

    def test_targets_are_judged_at_their_very_limit(self):
        nginx = run("nginx", 1, 0.020)
        good = verdicts([nginx, run("sidecar", 1, 0.030, cold=60.0, rss=10.0)])
        self.assertEqual(set(good.values()), {"pass"})
        bad = verdicts([nginx, run("sidecar", 1, 0.033, stream=0.1, cold=60.1, rss=10.1)])
        self.assertEqual(set(bad.values()), {"miss"})

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

    def test_the_table_is_consistent(self):
        setups = {setup.name for setup in table.SETUPS}
        scenarios = {(x.setup, x.name) for x in table.SCENARIOS}
        self.assertEqual(len(scenarios), len(table.SCENARIOS))
        self.assertLessEqual({setup for setup, _ in scenarios}, setups)
        for contender in table.CONTENDERS:
            self.assertLessEqual(set(contender.configs), setups)
        for target in table.TARGETS:
            self.assertIn(target.setup, setups)


if __name__ == "__main__":
    unittest.main()
