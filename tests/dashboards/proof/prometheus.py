"""A real Prometheus, and what Grafana does to a query before it sends it there."""

import json
import re
import urllib.parse

from .rig import call, free_port, until

INTERVAL = 0.5


class Prometheus:
    """Scrapes the targets twice a second; each has the labels that the chart's PodMonitors give."""

    def __init__(self, rig, targets, rules=None, more=""):
        config = rig.folder / "prometheus.yaml"
        scrapes = [{"targets": [address], "labels": labels} for address, labels in targets]
        config.write_text(json.dumps({
            "global": {"scrape_interval": f"{INTERVAL * 1000:.0f}ms", "scrape_timeout": f"{INTERVAL * 1000:.0f}ms"},
            "scrape_configs": [{"job_name": "bowsprit-system/bowsprit-sidecars", "static_configs": scrapes}],
        }))
        self.port = free_port()
        process = rig.start("prometheus", "prometheus", f"--config.file={config}", f"--storage.tsdb.path={rig.folder / 'tsdb'}",
                            f"--web.listen-address=127.0.0.1:{self.port}", "--enable-feature=exemplar-storage", "--log.level=warn")
        rig.answers("Prometheus", process, self.port, "/-/ready")
        until("every target is up", lambda: len(self.query("up == 1")) == len(targets))

    def get(self, path, **parameters):
        status, text = call(self.port, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(text)
        if status != 200 or answer["status"] != "success" or answer.get("warnings"):
            raise ValueError(f"{parameters.get('query')}: {answer.get('error') or answer.get('warnings')}")
        return answer["data"]

    def query(self, expr, at=None):
        """[(labels, value)]"""
        found = self.get("query", query=expr, **({"time": at} if at else {}))["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def query_range(self, expr, start, end, step):
        return self.get("query_range", query=expr, start=start, end=end, step=step)["result"]

    def exemplars(self, expr, start, end):
        """[(labels of the series, exemplar)] of all series that a query reads."""
        found = self.get("query_exemplars", query=expr, start=start, end=end)
        return [(one["seriesLabels"], exemplar) for one in found for exemplar in one["exemplars"]]

    def samples(self, selector, back="10m"):
        """Times of the samples of a series, in seconds."""
        found = self.get("query", query=f"{selector}[{back}]")["result"]
        return [time for time, _ in found[0]["values"]] if found else []

    def scrape_after(self, selector, moment):
        """The time of the first scrape of a target that began after this moment."""
        return until(f"a scrape of {selector} after {moment}", lambda: next((time for time in self.samples(selector) if time > moment), None))


def substituted(expr, window, **variables):
    """The query as Grafana would send it; every window becomes `window` seconds, which begins and ends at a scrape, so that nothing
    is extrapolated and counts are exact."""
    expr = re.sub(r"\[(\$__rate_interval|\$__range|\d+[mh])\]", f"[{window * 1000:.0f}ms]", expr)
    for name, value in variables.items():
        expr = expr.replace(f"${name}", value)
    if "$" in expr:
        raise ValueError(f"a variable is left in {expr}")
    return expr


def legend(template, labels):
    """The name of a series, as Grafana makes it of the panel's legend."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)
