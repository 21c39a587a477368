"""Medians over rounds, ratios to the baseline of the same round, targets, and the Markdown of it."""
import statistics

from . import table

NONE = "–"
OF_THE_PROCESS = ("cold_start_ms", "binary_mib", "rss_idle_mib", "rss_loaded_mib", "rss_end_mib")
BUSY = 0.1  # share of a core, while the bench waits, from which the report warns


def figures(runs):
    """(contender, setup) -> figure -> list over rounds. Ratios are to the baseline's run of the same round."""
    good = [run for run in runs if "failed" not in run]
    baseline = {(run["setup"], run["round"]): run for run in good if run["contender"] == table.BASELINE}
    found = {}
    for run in good:
        own = found.setdefault((run["contender"], run["setup"]), {})
        setup = next(x for x in table.SETUPS if x.name == run["setup"])
        other = baseline.get((setup.baseline_of or setup.name, run["round"]))
        for name, value in _of_run(run, other).items():
            own.setdefault(name, []).append(value)
    return found


def _of_run(run, baseline):
    found = {key: run[key] for key in OF_THE_PROCESS if key in run}
    for scenario in table.scenarios_of(run["setup"]):
        name, parts = scenario.name, run[scenario.name]
        if scenario.held:
            found |= _held(scenario, parts, run)
            continue
        found[f"{name}_per_second"] = statistics.mean(part["requests_per_second"] for part in parts)
        found[f"{name}_bad"] = sum(part["bad"] for part in parts)
        found[f"{name}_io"] = sum(part["io"] for part in parts)
        for quantile in ("p50", "p99"):
            found[f"{name}_{quantile}_ms"] = _quantile(parts, quantile)
        if f"{name}_direct" in run:
            for quantile in ("p50", "p99"):
                direct = _quantile(run[f"{name}_direct"], quantile)
                found[f"{name}_added_{quantile}_ms"] = found[f"{name}_{quantile}_ms"] - direct
        own = micros(scenario, parts)
        if own is not None:
            found[f"{name}_us"] = own
            found[f"{name}_core_share"] = statistics.mean(part["core_share"] for part in parts)
            # A scenario of another setup is measured against the one of the same name.
            theirs = micros(scenario, baseline[name]) if baseline and name in baseline else None
            if theirs:
                found[f"{name}_ratio"] = own / theirs
    return found


def _held(scenario, parts, run):
    """Memory with connections held open: the most of the turns, each turn open and closed, and what one connection takes."""
    most = max(part["open_mib"] for part in parts)
    found = {
        f"{scenario.name}_mib": most,
        f"{scenario.name}_each_kib": (most - run["rss_idle_mib"]) / scenario.connections * 1024,
    }
    for number, part in enumerate(parts, 1):
        found |= {f"{scenario.name}_{number}_{key}": part[key] for key in ("open_mib", "closed_mib")}
    return found


def micros(scenario, parts):
    """CPU microseconds per unit of a scenario; None for direct, or if nothing was answered."""
    if any("cpu_seconds" not in part for part in parts):
        return None
    units = sum(part["events" if scenario.unit == "chunk" else "ok"] for part in parts)
    return sum(part["cpu_seconds"] for part in parts) / units * 1e6 if units else None


def _quantile(parts, quantile):
    return statistics.mean(part["latency_us"][quantile] for part in parts) / 1000


def median(values):
    return statistics.median(values) if values else None


def judge(found, runs):
    """Each target with the figure beside it and a verdict: pass, miss, fail (beyond the line that no machine excuses), or not
    measured.

    A contender that failed or gave a wrong answer passes nothing: what is not done right is not done fast.
    """
    judged = []
    for target in table.TARGETS:
        values = found.get((target.contender, target.setup), {}).get(target.figure, [])
        own = [run for run in runs if (run["contender"], run["setup"]) == (target.contender, target.setup)]
        spoiled = _spoiled(own)
        judged.append(
            {
                "target": target.says,
                "contender": target.contender,
                "setup": target.setup,
                "figure": target.figure,
                "most": target.most,
                "fails": target.fails,
                "unit": target.unit,
                "value": median(values),
                "least": min(values, default=None),
                "greatest": max(values, default=None),
                "verdict": _verdict(target, median(values), own, spoiled),
                "spoiled_by": spoiled,
            }
        )
    return judged


def _verdict(target, value, own, spoiled):
    if not own or (value is None and not spoiled):
        return "not measured"
    if value is not None and target.fails is not None and value > target.fails:
        return "fail"
    return "pass" if value is not None and value <= target.most and not spoiled else "miss"


def _spoiled(runs):
    """Why none of these runs counts as passed; empty if nothing speaks against them."""
    failed = sum("failed" in run for run in runs)
    parts = [
        part
        for run in runs
        if "failed" not in run
        for scenario in table.scenarios_of(run["setup"])
        for part in run[scenario.name]
    ]
    wrong = sum(part["bad"] + part["io"] for part in parts)
    last = next((part["last_error"] for part in parts if part.get("last_error")), "")
    causes = [f"{failed} failed runs"] * bool(failed) + [f"{wrong} requests without a right answer: {last}"] * bool(wrong)
    return ", ".join(causes)


def summary(runs):
    """The JSON's short form: median, least and most of each figure."""
    return [
        {
            "contender": contender,
            "setup": setup,
            "rounds": max(map(len, own.values())),
            "figures": {name: {"median": median(v), "least": min(v), "most": max(v)} for name, v in own.items()},
        }
        for (contender, setup), own in figures(runs).items()
    ]


def counts(counted):
    """The JSON's form of what `counting.run` found, with the ratio to the baseline: its own of the setup that the setup's is."""
    found = []
    for (contender, name), figures in counted.items():
        other = counted.get((table.BASELINE, "chunk" if name.endswith("chunk") else "plain"))
        ratio = figures["instructions"] / other["instructions"] if other else None
        found.append({"contender": contender, "count": name, **figures, "ratio": ratio})
    return found


def counts_table(found):
    lines = ["| one more | | instructions | × nginx | allocations |", "|---|---|--:|--:|--:|"]
    for one in found:
        ratio = NONE if one["ratio"] is None else f"{one['ratio']:.2f}"
        figures = f"{one['instructions']:,.0f} | {ratio} | {one['allocations']:.1f}"
        lines.append(f"| {one['count']} | {one['contender']} | {figures} |")
    return "\n".join(lines)


def _cell(values, digits, spread=False):
    if not values:
        return NONE
    text = f"{median(values):.{digits}f}"
    return f"{text} ({min(values):.{digits}f}–{max(values):.{digits}f})" if spread and len(values) > 1 else text


# Title, figure, digits after the point, whether the least and the most are shown too.
COLUMNS = [
    ("CPU µs/{unit}", "_us", 1, True),
    ("× nginx", "_ratio", 2, True),
    ("core share", "_core_share", 2, False),
    ("{unit}s/s", "_per_second", 0, False),
    ("p50 ms", "_p50_ms", 2, False),
    ("p99 ms", "_p99_ms", 2, False),
    ("added p50 ms", "_added_p50_ms", 2, True),
    ("added p99 ms", "_added_p99_ms", 2, True),
    ("bad", "_bad", 0, False),
    ("io", "_io", 0, False),
]
# A closed loop's times are those of a queue it fills itself, and where the load or the upstream sets the pace, requests
# per second say nothing of the proxy.
LEFT_OUT = {
    "closed": ("_p50_ms", "_p99_ms", "_added_p50_ms", "_added_p99_ms"),
    "rate": ("_core_share", "_per_second"),
    "stream": ("_per_second", "_p50_ms", "_p99_ms", "_added_p50_ms", "_added_p99_ms"),
}
TITLES = {
    "closed": "{scenario}: {connections} connections, as fast as they go",
    "rate": "{scenario}: {rate} requests/s at fixed times",
    "stream": "{scenario}: {connections} streams at once, {events} chunks each",
}


def markdown(document):
    runs, found = document["runs"], figures(document["runs"])
    lines = ["# Bench", "", *_machine(document), ""]
    for setup in table.SETUPS:
        rows = [(name, own) for (name, of), own in found.items() if of == setup.name]
        if not rows:
            continue
        for scenario in table.scenarios_of(setup.name):
            lines += _held_table(setup, scenario, rows) if scenario.held else _scenario(setup, scenario, rows)
        if not all(scenario.held for scenario in table.scenarios_of(setup.name)):
            lines += _footprint(setup, rows, document["contenders"])
    lines += ["## Instructions and allocations of the program itself", "", counts_table(document.get("counts", [])), ""]
    lines += _targets(judge(found, runs), document)
    for setup, why in document.get("left_out", {}).items():
        lines += [f"**{setup} was left out**: {why}", ""]
    for run in (run for run in runs if "failed" in run):
        lines += [f"**{run['contender']} failed in round {run['round']}** ({run['setup']}): {run['failed']}", ""]
    return "\n".join(lines)


def _machine(document):
    machine, options = document["machine"], document["options"]
    busy = any(share > BUSY for when in ("before", "after") for share in document[when]["busy"].values())
    return [
        f"{document['begun']}, {options['rounds']} rounds of {options['seconds']} s, interleaved; medians over rounds (least–most).",
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}: the proxy on core 0, upstream and load on core 1.",
        f"Machine before: {_state(document['before'])}; after: {_state(document['after'])}.",
        *(["**The machine was busy with other work: latencies, and figures at 200/s, are worth little.**"] if busy else []),
        *(["Quick run: it shows that the bench works; judge by a full one."] if options["quick"] else []),
    ]


def _state(of):
    shares = ", ".join(f"{share:.0%}" for share in of["busy"].values())
    return f"load average {of['load_average'][0]}, cores {shares} busy"


def _scenario(setup, scenario, rows):
    columns = [
        (title.format(unit=scenario.unit), scenario.name + suffix, digits, spread)
        for title, suffix, digits, spread in COLUMNS
        if suffix not in LEFT_OUT[scenario.mode]
    ]
    title = TITLES[scenario.mode].format(
        scenario=scenario.name, connections=scenario.connections, rate=scenario.rate, events=scenario.events
    )
    of = f" (ratio to nginx in {setup.baseline_of})" if setup.baseline_of else ""
    lines = [f"## {setup.name}, {title}{of}", "", "| | " + " | ".join(c[0] for c in columns) + " |", "|---" + "|--:" * len(columns) + "|"]
    for name, own in rows:
        cells = (
            # Errors are counted over all rounds: a median would hide them.
            str(sum(own.get(figure, []))) if figure.endswith(("_bad", "_io")) else _cell(own.get(figure), digits, spread)
            for _, figure, digits, spread in columns
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _held_table(setup, scenario, rows):
    kind = {"idle": "idle connections, each answered once", "open": "open streams"}[scenario.mode]
    turns = sorted({key for _, own in rows for key in own if key.endswith(("_open_mib", "_closed_mib"))}, key=_turn)
    titles = ["before", *("closed again" if key.endswith("_closed_mib") else "all open" for key in turns), "KiB each"]
    lines = [
        f"## {setup.name}, RSS in MiB with {scenario.connections:,} {kind}",
        "",
        "| | " + " | ".join(titles) + " |",
        "|---" + "|--:" * len(titles) + "|",
    ]
    for name, own in rows:
        cells = [_cell(own.get(key), 1) for key in ("rss_idle_mib", *turns, f"{scenario.name}_each_kib")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _turn(figure):
    """By number, and open before closed."""
    _, number, state, _ = figure.split("_")
    return number, state != "open"


def _footprint(setup, rows, contenders):
    lines = [
        f"## {setup.name}, footprint",
        "",
        f"| | version | binary MiB | cold start ms | RSS idle MiB | after {table.CONNECTIONS} connections | at the end |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name, own in rows:
        if name == table.DIRECT:
            continue
        about = contenders[name]
        cells = [_cell(own.get("binary_mib"), 1), _cell(own.get("cold_start_ms"), 0, True)]
        cells += [_cell(own.get(key), 1) for key in ("rss_idle_mib", "rss_loaded_mib", "rss_end_mib")]
        lines.append(f"| {name} | {about['version']} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _targets(judged, document):
    judged = [one for one in judged if one["contender"] in document["contenders"]]
    if not judged:
        return ["No contender with targets was measured.", ""]
    lines = ["## Targets", "", "| target | at most | measured (least–most) | | fails above |", "|---|--:|--:|---|--:|"]
    for one in judged:
        word = {"miss": "**miss**", "fail": "**FAIL**"}.get(one["verdict"], one["verdict"])
        if one["spoiled_by"]:
            word += f" ({one['spoiled_by']})"
        fails = NONE if one["fails"] is None else f"{one['fails']:g}"
        lines.append(f"| {one['target']} | {one['most']:g} {one['unit']} | {_measured(one)} | {word} | {fails} |")
    return [*lines, ""]


def _measured(one):
    if one["value"] is None:
        return NONE
    spread = f" ({one['least']:.2f}–{one['greatest']:.2f})" if one["least"] != one["greatest"] else ""
    return f"{one['value']:.2f}{spread}"
