"""Where a suite plays: scripted providers, sidecars and a Prometheus of its own, so that every counter begins at 0 with it and a
count is what Prometheus holds at the end, nothing extrapolated."""

import time

from proof.figures import Within
from proof.prometheus import Prometheus
from proof.report import judged
from proof.rig import Rig, call, until
from proof.world import provider, route

__all__ = ["Stage", "Within", "call", "provider", "route", "until"]

POD = {"namespace": "shop", "workload": "web"}


class Stage(Rig):
    """Ends with everything that it started."""

    def __init__(self, name, programs, report):
        super().__init__()
        self.name, self.programs, self.report = name, programs, report
        self.port, self.control = self.providers(programs / "bowsprit-providers")
        self.sidecars, self.prometheus, self.at = [], None, 0.0
        self.instances = []

    def script(self, always=None, steps=None):
        """What each model does from now on, and what the next requests for one find before that: [(model, times, act)]."""
        steps = [{"when": {"model": model}, "times": times, "do": act} for model, times, act in steps or ()]
        always = [{"when": {"model": model}, "do": act} for model, act in (always or {}).items()]
        status, text = call(self.control, "/script", {"steps": steps, "always": always})
        if status != 200:
            raise AssertionError(f"the providers do not take the script: {text}")

    def started(self, documents, pod="web-1", **environment):
        """A sidecar with these documents, which Prometheus will scrape as this pod."""
        one = self.sidecar(self.programs / "bowsprit-sidecar", pod, documents, A_KEY="a-key", **environment)
        self.sidecars.append(one)
        self.instances.append((f"127.0.0.1:{one.admin}", {**POD, "pod": pod}))
        return one

    def scraped(self):
        """Prometheus, as soon as all that it scrapes is there."""
        self.prometheus = Prometheus(self, self.instances)

    def look(self, but=()):
        """Waits until Prometheus has seen all that has happened until now; what is asked next is about this moment."""
        now = time.time()
        seen = [self.prometheus.scrape_after(f'up{{instance="{address}"}}', now)
                for address, labels in self.instances if labels["pod"] not in but]
        self.at = max(seen)

    def ended(self):
        """Waits until every request but those held open is counted, and Prometheus has seen it."""
        for sidecar in self.sidecars:
            under_way = lambda: sidecar.metric("bowsprit_requests_received_total") - sidecar.metric("bowsprit_requests_total")
            until("every request is counted", lambda: under_way() == sidecar.open)
        self.look()

    def holds(self, what, query, want, by=""):
        """The series of a query, told apart by these labels, are this; those at 0 may be left out of what is wanted."""
        found, got = self.prometheus.query(query, self.at), {}
        for labels, value in found:
            name = " ".join(labels.get(label, "") for label in by.split()).strip()
            got[name] = got.get(name, 0) + value
        if isinstance(want, dict):
            got = {name: value for name, value in got.items() if value != 0 or name in want}
            got |= {name: 0 for name, figure in want.items() if name not in got and figure == 0}
        self.report.line(f"{self.name}: {what}", want, got, judged(want, got, 0) if want or got else None)

    def counts(self, family, want, by="", more=""):
        """The sum of a family, by these labels, is this."""
        grouped = f"sum by ({', '.join(by.split())}) " if by else "sum"
        selector = f"{{{more}}}" if more else ""
        told = f"{family}{' ' + more if more else ''}"
        self.holds(told, f"{grouped}({family}{selector})", want, by)

    def nothing_else(self, families):
        """None of these has counted anything."""
        for family in families:
            self.holds(family, f"sum({family}) or vector(0)", 0)

