"""Takes the rules out of the rendered PrometheusRule and the queries out of docs/metrics.md, for promtool, and sees to it that
each alert has a case that fires it and one that does not."""

import json
import re
import sys
from pathlib import Path

rendered, cases, page, work = (Path(argument) for argument in sys.argv[1:])

objects = []
decoder, text = json.JSONDecoder(), rendered.read_text()
while text.strip():
    found, end = decoder.raw_decode(text.lstrip())
    objects += found.get("items", [found])
    text = text.lstrip()[end:]
rule = next(found for found in objects if found["kind"] == "PrometheusRule")
(work / "rules.json").write_text(json.dumps({"groups": rule["spec"]["groups"]}))

alerts = {entry["alert"] for group in rule["spec"]["groups"] for entry in group["rules"]}
# One alert a case: `alertname: X` with exp_alerts that are empty (quiet) or not (fires).
tested = {"fires": set(), "quiet": set()}
for name, rest in re.findall(r"alertname: (\w+)\n(.*?)(?=\n *- eval_time|\n *- name|\Z)", cases.read_text(), re.S):
    tested["quiet" if "exp_alerts: []" in rest else "fires"].add(name)
for what, names in tested.items():
    if names != alerts:
        sys.exit(f"alerts: not each has a case that {what}: {sorted(alerts ^ names)}")

queries = re.findall(r"```promql\n(.*?)\n```", page.read_text(), re.S)
if len(queries) < 10:
    sys.exit("docs/metrics.md: its queries were not found")
rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
(work / "queries.json").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
