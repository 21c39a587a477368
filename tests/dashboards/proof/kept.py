"""What every panel would ask of Prometheus, and what it answers: for the pictures."""

import json
from pathlib import Path

from .prometheus import INTERVAL

DASHBOARDS = Path(__file__).resolve().parents[3] / "charts/bowsprit/dashboards"
STEP = 1
# Grafana's $__rate_interval: four scrapes at least, and a step more.
RATE = f"{4 * INTERVAL + STEP:.0f}s"


def keep(prometheus, begin, end, path, names=None):
    """Writes the answers for these dashboards (all, where none are named) to a file, beside what is there."""
    file = Path(path)
    all_of_them = json.loads(file.read_text()) if file.exists() else {}
    begin, end = int(begin), int(end)
    for source in sorted(DASHBOARDS.glob("*.json")):
        if names and source.stem not in names:
            continue
        dashboard = json.loads(source.read_text())
        values = {one["name"]: str(one["current"]["value"]) if one["type"] == "custom" else ".*" for one in dashboard["templating"]["list"]}

        def asked(target):
            expr = target["expr"].replace("$__rate_interval", RATE).replace("$__range", f"{end - begin}s")
            for name, value in values.items():
                expr = expr.replace(f"${name}", value)
            found = prometheus.get("query", query=expr, time=end) if target["instant"] else prometheus.get("query_range", query=expr, start=begin, end=end, step=STEP)
            return {"refId": target["refId"], "legend": target["legendFormat"], "step": STEP, "result": found["result"]}

        answers = {panel["id"]: [asked(target) for target in panel["targets"]] for panel in dashboard["panels"] if panel["type"] != "row"}
        all_of_them[source.stem] = {"dashboard": dashboard, "answers": answers, "from": begin * 1000, "to": end * 1000}
    file.write_text(json.dumps(all_of_them))
