"""The most that a request may cost the sidecar in its own code: `tests/load/budget.toml`, and what is said when that changes."""
import platform
import tomllib

TOLERANCE = 0.02  # by which a figure may be off; runs of the same program differ by up to a quarter of that
SLACK = 0.5  # by which the allocations may be off in any case: what the background allocates meanwhile, and a budget of none
HEAD = """# What one more request, or one more streamed chunk, costs the sidecar: instructions of its own code, and allocations, counted under
# valgrind in the build that the test cluster runs (profile `fast`). `make budget` fails when a figure is more than {tolerance:.0%} above its
# line here. Figures that have changed for a reason are written by `make budget COMMIT=1`; the commit says the reason.
# docs/performance.md tells what is counted and how.
"""


def machine():
    """Counts are of one instruction set."""
    return platform.machine()


def load(file):
    """name -> {"instructions": ..., "allocations": ...} on this kind of machine; None where nobody has counted on one."""
    return tomllib.loads(file.read_text()).get(machine()) if file.is_file() else None


def write(file, counted):
    """Writes the figures as the new budget, and keeps those of other machines."""
    tables = (tomllib.loads(file.read_text()) if file.is_file() else {}) | {machine(): counted}
    lines = [HEAD.format(tolerance=TOLERANCE)]
    for kind, figures in sorted(tables.items()):
        for name, figure in figures.items():
            lines.append(f'[{kind}."{name}"]')
            lines.append(f"instructions = {figure['instructions']:.0f}")
            lines.append(f"allocations = {figure['allocations']:.1f}\n")
    file.write_text("\n".join(lines))


def compare(counted, budget):
    """(lines for people, faults): each figure beside its budget."""
    lines, faults = [], []
    for name in sorted({*counted, *budget}, key=[*counted, *budget].index):
        for what in ("instructions", "allocations"):
            own, most = counted.get(name, {}).get(what), budget.get(name, {}).get(what)
            if own is None or most is None:
                faults.append(f"{name}: {what} are {'not counted' if own is None else 'in no budget'}")
                continue
            change = own / most - 1 if most else 0.0
            slack = max(most * TOLERANCE, SLACK if what == "allocations" else 0)
            word = ""
            if own - most > slack:
                word = "ABOVE THE BUDGET"
                faults.append(f"{name}: {_number(what, own)} {what}, where the budget is {_number(what, most)} ({change:+.1%})")
            elif most - own > slack:
                word = "lower: commit the new budget"
            lines.append(f"{name:24} {what:12} {_number(what, own):>10} of {_number(what, most):>10}  {change:+7.1%}  {word}".rstrip())
    return lines, faults


def _number(what, value):
    return f"{value:,.0f}" if what == "instructions" else f"{value:.1f}"
