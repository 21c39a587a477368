"""Panels and dashboards as Grafana's JSON (schema version 41, which Grafana 10 to 12 read). Every field that the schema asks for is
written out, so that tests/dashboards/schema can be strict."""

from queries import QUERIES

DATASOURCE = {"type": "prometheus", "uid": "$datasource"}
# Grafana's own grid.
COLUMNS = 24
GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"


def steps(base=GREEN, *above):
    """Thresholds: a colour, and another from each (value, colour) on."""
    return {"mode": "absolute", "steps": [{"value": None, "color": base}] + [{"value": value, "color": colour} for value, colour in above]}


def targets(names, table=False, instant=False):
    letters = "ABCDEFGHIJ"
    return [{
        "refId": letters[index],
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": QUERIES[name].expr,
        "legendFormat": "__auto" if table else QUERIES[name].legend,
        "format": "table" if table else "time_series",
        "instant": table or instant,
        "range": not (table or instant),
        "exemplar": QUERIES[name].exemplars and not (table or instant),
    } for index, name in enumerate(names)]


def panel(kind, title, description, queries, options, *, unit, width, height, thresholds=None, decimals=None, least=None, most=None,
          custom=None, mappings=(), overrides=(), colour=None, none="–", table=False, instant=False, transformations=()):
    defaults = {
        "unit": unit,
        "noValue": none,
        "thresholds": thresholds or steps(),
        "color": {"mode": colour or "thresholds"},
        "mappings": list(mappings),
        "custom": custom or {},
    }
    for key, value in (("decimals", decimals), ("min", least), ("max", most)):
        if value is not None:
            defaults[key] = value
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": targets(queries, table, instant),
        "transformations": list(transformations),
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
    }


def reduce(calc):
    return {"values": False, "calcs": [calc], "fields": ""}


def stat(title, description, name, *, unit, width=4, height=4, graph=False, calc="lastNotNull", text="auto", **more):
    """One figure, coloured by its thresholds."""
    return panel("stat", title, description, [name], {
        "graphMode": "area" if graph else "none",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": text,
        "wideLayout": True,
        "showPercentChange": False,
        "reduceOptions": reduce(calc),
        "percentChangeColorMode": "standard",
        "orientation": "auto",
    }, unit=unit, width=width, height=height, instant=not graph, **more)


def timeseries(title, description, names, *, unit, width=8, height=8, stack=False, bars=False, limits=False, calcs=("mean", "max"), least=0, **more):
    """Lines, or bars for what is counted, over time; `limits` draws the thresholds as lines."""
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 60 if bars else 25 if stack else 8,
        "gradientMode": "none",
        "showPoints": "never",
        "pointSize": 5,
        "spanNulls": False,
        "barAlignment": 0,
        "stacking": {"mode": "normal" if stack or bars else "none", "group": "A"},
        "axisPlacement": "auto",
        "axisLabel": "",
        "axisColorMode": "text",
        "axisBorderShow": False,
        "axisCenteredZero": False,
        "scaleDistribution": {"type": "linear"},
        "hideFrom": {"tooltip": False, "viz": False, "legend": False},
        "thresholdsStyle": {"mode": "line" if limits else "off"},
    }
    return panel("timeseries", title, description, names, {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": list(calcs), "sortBy": "Max" if "max" in calcs else "Min", "sortDesc": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }, unit=unit, width=width, height=height, custom=custom, colour="palette-classic", least=least, **more)


def per_minute(title, description, names, *, width=8, **more):
    """How often something happens, as bars."""
    return timeseries(title, description, names, unit="cpm", width=width, bars=True, **more)


def bargauge(title, description, name, *, unit, width=8, height=8, **more):
    """One bar for each series."""
    return panel("bargauge", title, description, [name], {
        "displayMode": "basic",
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "reduceOptions": reduce("lastNotNull"),
        "orientation": "horizontal",
    }, unit=unit, width=width, height=height, instant=True, **more)


def table(title, description, columns, *, keys, width=12, height=8, sort=None):
    """Rows by their labels `keys` (label: heading) and a column for each query: {query: (heading, unit, thresholds or None)}."""
    headings = dict(zip("ABCDEFGHIJ", columns.values()))
    several = len(columns) > 1
    value = lambda letter: f"Value #{letter}" if several else "Value"
    renamed = {**keys, **{value(letter): heading for letter, (heading, _, _) in headings.items()}}
    order = [*keys, *(value(letter) for letter in headings)]
    overrides = []
    for heading, unit, limits in headings.values():
        properties = [{"id": "unit", "value": unit}]
        # Counts are whole, whatever Prometheus makes of the edges of a time range.
        if unit == "none":
            properties.append({"id": "decimals", "value": 0})
        if limits:
            properties += [{"id": "thresholds", "value": limits}, {"id": "custom.cellOptions", "value": {"type": "color-text"}}]
        overrides.append({"matcher": {"id": "byName", "options": heading}, "properties": properties})
    return panel("table", title, description, list(columns), {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": []},
        "sortBy": [{"displayName": sort or next(iter(headings.values()))[0], "desc": True}],
    }, unit="short", width=width, height=height, table=True, overrides=overrides,
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True},
        transformations=[
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {name: index for index, name in enumerate(order)}, "renameByName": renamed}},
            {"id": "sortBy", "options": {"sort": [{"field": sort or next(iter(headings.values()))[0], "desc": True}]}},
        ])


def variable(name, label, expr):
    """All values of a label; more than one may be chosen, and all at first."""
    return {
        "type": "query", "name": name, "label": label, "hide": 0, "skipUrlSync": False, "datasource": DATASOURCE,
        "definition": expr, "query": {"qryType": 1, "query": expr, "refId": f"variable-{name}"},
        "refresh": 2, "sort": 1, "regex": "", "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]}, "options": [],
    }


def choice(name, label, values, chosen):
    """One of a few values."""
    return {
        "type": "custom", "name": name, "label": label, "hide": 0, "skipUrlSync": False, "query": ",".join(values), "multi": False,
        "includeAll": False, "current": {"selected": True, "text": chosen, "value": chosen},
        "options": [{"selected": value == chosen, "text": value, "value": value} for value in values],
    }


def source():
    return {
        "type": "datasource", "name": "datasource", "label": "Prometheus", "hide": 0, "skipUrlSync": False, "query": "prometheus",
        "refresh": 1, "regex": "", "multi": False, "includeAll": False, "current": {"selected": False, "text": "default", "value": "default"}, "options": [],
    }


def placed(rows):
    """Panels below each other, row after row, each row under its title."""
    panels, y, number = [], 0, 0
    for title, members in rows:
        number += 1
        panels.append({"type": "row", "id": number, "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}})
        y += 1
        x = tallest = 0
        for member in members:
            number += 1
            width, height = member["gridPos"]["w"], member["gridPos"]["h"]
            if x + width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            panels.append({"id": number, **member, "gridPos": {"h": height, "w": width, "x": x, "y": y}})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return panels


def dashboard(uid, title, description, rows, variables):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["bowsprit"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [{
            "title": "Bowsprit", "type": "dashboards", "icon": "external link", "tooltip": "The other dashboards of Bowsprit", "url": "", "tags": ["bowsprit"],
            "asDropdown": True, "targetBlank": False, "includeVars": True, "keepTime": True,
        }],
        "templating": {"list": [source(), *variables]},
        "panels": placed(rows),
    }
