"""What must be true of each panel and is not in Grafana's schema: misspelt settings, panels without words, queries that are not there."""

import json
import sys
from pathlib import Path

KINDS = {"timeseries", "stat", "bargauge", "table"}
UNITS = {"percentunit", "short", "none", "reqps", "ops", "cpm", "s", "bytes", "Bps", "currencyUSD"}
DEFAULTS = {"unit", "noValue", "thresholds", "color", "mappings", "custom", "decimals", "min", "max"}
TARGET = {"refId", "datasource", "editorMode", "expr", "legendFormat", "format", "instant", "range", "exemplar"}
CUSTOM = {
    "timeseries": {"drawStyle", "lineInterpolation", "lineWidth", "fillOpacity", "gradientMode", "showPoints", "pointSize", "spanNulls", "barAlignment", "stacking", "axisPlacement",
                   "axisLabel", "axisColorMode", "axisBorderShow", "axisCenteredZero", "scaleDistribution", "hideFrom", "thresholdsStyle"},
    "table": {"align", "cellOptions", "inspect", "filterable"},
    "stat": set(),
    "bargauge": set(),
}
PROPERTIES = {"unit", "decimals", "thresholds", "custom.cellOptions"}
TRANSFORMATIONS = {"merge", "organize", "sortBy"}


def of_panel(panel, variables):
    """What is wrong with it."""
    defaults, overrides = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["overrides"]
    if panel["type"] not in KINDS:
        yield f"is of type {panel['type']}"
    for what in ("title", "description"):
        if len(panel[what]) < 3 or panel[what] != panel[what].strip():
            yield f"has no {what}"
    if not panel["description"].endswith("."):
        yield "describes itself in no sentence"
    yield from (f"has an unknown setting {key}" for key in defaults.keys() - DEFAULTS)
    yield from (f"has an unknown custom setting {key}" for key in defaults["custom"].keys() - CUSTOM.get(panel["type"], set()))
    properties = [one for override in overrides for one in override["properties"]]
    yield from (f"overrides an unknown {one['id']}" for one in properties if one["id"] not in PROPERTIES)
    units = {defaults["unit"]} | {one["value"] for one in properties if one["id"] == "unit"}
    yield from (f"has an unknown unit {unit}" for unit in units - UNITS)
    if not defaults["thresholds"]["steps"] or defaults["thresholds"]["steps"][0]["value"] is not None:
        yield "has thresholds without a base"
    values = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
    if values != sorted(values):
        yield "has thresholds out of order"
    if not panel["targets"]:
        yield "asks nothing"
    for target in panel["targets"]:
        yield from (f"has an unknown setting {key} in its target" for key in target.keys() - TARGET)
        if not target["expr"] or not target["legendFormat"]:
            yield "has a target without query or legend"
        if target["instant"] == target["range"]:
            yield "has a target that is neither of an instant nor of a range"
        used = {name for name in ("namespace", "workload", "provider", "model", "objective") if f"${name}" in target["expr"]}
        yield from (f"uses ${name}, which the dashboard has not" for name in used - variables)
    yield from (f"transforms by {one['id']}" for one in panel["transformations"] if one["id"] not in TRANSFORMATIONS)
    if panel["type"] == "table":
        headings = {override["matcher"]["options"] for override in overrides}
        renamed = set(panel["transformations"][1]["options"]["renameByName"].values())
        yield from (f"has an override for {heading}, which no column is called" for heading in headings - renamed)


def of_dashboard(dashboard):
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    panels = dashboard["panels"]
    if len({panel["id"] for panel in panels}) < len(panels):
        yield "two panels have the same id"
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        if cells & taken or place["x"] + place["w"] > 24:
            yield f"{panel['title']!r} lies over another panel"
        taken |= cells
        if panel["type"] != "row":
            yield from (f"{panel['title']!r} {wrong}" for wrong in of_panel(panel, variables))


def main():
    dashboards = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    wrong = [f"{dashboard['title']}: {one}" for dashboard in dashboards for one in of_dashboard(dashboard)]
    panels = sum(panel["type"] != "row" for dashboard in dashboards for panel in dashboard["panels"])
    if len({dashboard["uid"] for dashboard in dashboards}) < 4 or panels < 30:
        wrong.append(f"{len(dashboards)} dashboards with {panels} panels are fewer than promised")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(dashboards)} dashboards, {panels} panels: each is whole")


main()
