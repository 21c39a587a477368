"""Takes the rules out of the rendered PrometheusRule, and the queries out of docs/metrics.md and the runbooks, for promtool; and sees
to it that each alert has a case that fires it, one that does not, and its page."""

import json
import re
import sys
from pathlib import Path

rendered, here, docs, work = (Path(argument) for argument in sys.argv[1:])

objects = []
decoder, text = json.JSONDecoder(), rendered.read_text()
while text.strip():
    found, end = decoder.raw_decode(text.lstrip())
    objects += found.get("items", [found])
    text = text.lstrip()[end:]
groups = next(found for found in objects if found["kind"] == "PrometheusRule")["spec"]["groups"]
(work / "checked.json").write_text(json.dumps({"groups": groups}))
# What the operator makes of objectives (operator/src/slo.rs), of the objects in its test.
objectives = json.loads((here / "slo_rules.json").read_text())["spec"]["groups"]
(work / "checked-slo.json").write_text(json.dumps({"groups": objectives}))
every = [rule for group in groups + objectives for rule in group["rules"] if "alert" in rule]
rules = {rule["alert"]: rule for rule in every}
if len(groups) < 4 or len(rules) < 22:
    sys.exit(f"alerts: {len(rules)} in {len(groups)} groups are fewer than promised")

# One alert a case: `alertname: X` with exp_alerts that are empty (quiet) or not (fires).
tested = {"fires": set(), "quiet": set()}
for cases in here.glob("*_test.yaml"):
    for name, rest in re.findall(r"alertname: (\w+)(.*?)(?=\n *- \{?eval_time|\n *- name|\Z)", cases.read_text(), re.S):
        tested["quiet" if "exp_alerts: []" in rest else "fires"].add(name)
for what, names in tested.items():
    if names != rules.keys():
        sys.exit(f"alerts: not each has a case that {what}: {sorted(rules.keys() ^ names)}")

# The cases compare summaries alone: what else is said is not said twice. What a template uses, the alert must have.
for rule in every:
    rule["annotations"] = {"summary": rule["annotations"]["summary"]}
(work / "rules.json").write_text(json.dumps({"groups": groups}))
(work / "slo-rules.json").write_text(json.dumps({"groups": objectives}))

HEADINGS = ["What it means", "Look", "What to do", "When to escalate"]
pages = {page.stem: page.read_text() for page in (docs / "runbooks").glob("Bowsprit*.md")}
if pages.keys() != rules.keys():
    sys.exit(f"docs/runbooks: not one page for each alert: {sorted(pages.keys() ^ rules.keys())}")
for name, page in pages.items():
    headings = re.findall(r"^## (.*)$", page, re.M)
    if headings != HEADINGS or not page.startswith(f"# {name}\n"):
        sys.exit(f"docs/runbooks/{name}.md: must be headed by its name, and have the parts {HEADINGS}")
    if any(len(part.strip()) < 20 for part in re.split(r"^## .*$", page, flags=re.M)[1:]):
        sys.exit(f"docs/runbooks/{name}.md: a part says too little")

queries = []
for file in [docs / "metrics.md", *sorted((docs / "runbooks").glob("*.md"))]:
    there = re.findall(r"```promql\n(.*?)\n```", file.read_text(), re.S)
    if not there and file.stem in rules:
        sys.exit(f"{file}: has no query to look with")
    queries += [query for block in there for query in block.split("\n\n")]
if len(queries) < len(rules) + 10:
    sys.exit("docs/metrics.md: its queries were not found")
records = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
(work / "queries.json").write_text(json.dumps({"groups": [{"name": "queries", "rules": records}]}))
print(f"alerts: {len(rules)} in {len(groups)} groups, each with a case that fires it, one that does not, and a page; {len(queries)} queries are well formed")
