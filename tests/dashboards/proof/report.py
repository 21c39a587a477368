"""Judges what Prometheus said by what it should have said, and prints both."""

import math

from .figures import fits


def judged(want, got, window):
    """Why this is not what it should be, or nothing."""
    if not got:
        return "no series"
    if any(math.isnan(value) for value in got.values()):
        return "not a number"
    if not isinstance(want, dict):
        if len(got) != 1:
            return f"{len(got)} series"
        want = dict.fromkeys(got, want)
    if want.keys() != got.keys():
        return f"there are other series: {', '.join(sorted(want.keys() ^ got.keys()))}"
    wrong = sorted(series for series in want if not fits(want[series], got[series], window))
    return f"other figures: {', '.join(wrong)}" if wrong else None


def shown(value):
    if isinstance(value, dict):
        return ", ".join(f"{series or 'all'}: {shown(one)}" for series, one in sorted(value.items()))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Report:
    """Line by line, and how it went."""

    def __init__(self, whole):
        self.whole, self.bad, self.good = whole, 0, 0

    def line(self, name, want, got, why):
        self.bad += why is not None
        self.good += why is None
        if why or self.whole:
            print(f"{'FAILS' if why else 'ok':5}  {name:28}  expected  {shown(want)}")
            print(f"{'':35}  got       {shown(got)}" + (f"\n{'':35}  {why}" if why else ""))
