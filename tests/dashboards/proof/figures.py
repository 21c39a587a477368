"""What is expected of a figure: a number, or one of these where it is counted by time or decided by it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """So many in the round, as a rate a second."""

    count: float

    def fits(self, got, window):
        return close(got * window, self.count)

    def __str__(self):
        return f"{self.count:g} in the window"


class Minute(Rate):
    """So many in the round, as a rate a minute."""

    def fits(self, got, window):
        return close(got * window / 60, self.count)


@dataclass(frozen=True)
class MinuteWithin:
    """Between so many and so many in the round, as a rate a minute."""

    least: float
    most: float

    def fits(self, got, window):
        return self.least <= got * window / 60 + 1e-6 and got * window / 60 <= self.most + 1e-6

    def __str__(self):
        return f"{self.least:g} to {self.most:g} in the window"


@dataclass(frozen=True)
class Within:
    least: float
    most: float

    def fits(self, got, _):
        return self.least <= got <= self.most

    def __str__(self):
        return f"{self.least:g} to {self.most:g}"


def close(got, want):
    return abs(got - want) <= 1e-6 * max(1, abs(want))


def fits(want, got, window):
    return want.fits(got, window) if hasattr(want, "fits") else close(got, want)
