"""Charts as SVG within the page: they need no script, print as they are, and say in words what they show. Colours are
the style sheet's. Whoever cannot see one finds its numbers in the table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedpact.report.markup import Markup, join, tag

WIDTH, HEIGHT = 400, 200
LEFT, TOP, BOTTOM = 46, 12, 24
_TO_LINES, _TO_COLUMNS = 48, 8  # To the right: lines have a label at their end.
MOST_COLUMNS = 150
"""Beyond this many rounds each column stands for several, and shows their mean."""
MOST_CELLS = (100, 64)
"""Rounds and silos of a grid."""
_TICKS = 5


_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


@dataclass(frozen=True, slots=True)
class Series:
    """What is drawn in one colour.

    Attributes:
        kind: its class in the style sheet.
        values: one a round; none where there is none.
    """

    name: str
    kind: str
    values: Sequence[float | None]


def lines(key: str, title: str, described: str, rounds: Sequence[int], series: Sequence[Series]) -> Markup:
    """A line a series. The axis need not start at zero: what matters is how it goes on.

    Args:
        key: what its ids begin with.
    """
    rounds, series = _fewer(rounds, series)
    known = [value for each in series for value in each.values if value is not None]
    low, high = min(known), max(known)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def x(place: int) -> float:
        return LEFT + (place + 0.5) * (WIDTH - LEFT - _TO_LINES) / len(rounds)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low or 1) * (HEIGHT - TOP - BOTTOM)

    drawn, labels = [], []
    taken: list[float] = []
    for each in reversed(series):
        points = [(x(place), y(value), value) for place, value in enumerate(each.values) if value is not None]
        if not points:
            continue
        path = "M" + "L".join(f"{across:.1f} {down:.1f}" for across, down, _ in points)
        across, down, last = points[-1]
        drawn.append(tag("circle", cx=f"{across:.1f}", cy=f"{down:.1f}", r=3, class_=each.kind))
        drawn.append(tag("path", d=Markup(path), class_=f"line {each.kind}"))
        if all(abs(down - other) > 11 for other in taken):  # Labels that would lie on one another say nothing.
            labels.append(_label(across + 6, down + 4, f"{last:.4f}", "start", "end"))
            taken.append(down)
    drawn = [*reversed(drawn), *labels]  # The last series lies above the others, and has its label first.
    return _chart(key, title, described, _grid(ticks, y, WIDTH - _TO_LINES), _rounds_axis(rounds, x), *drawn)


def columns(key: str, title: str, described: str, rounds: Sequence[int], series: Sequence[Series]) -> Markup:
    """A column a round, the series on top of one another."""
    rounds, series = _fewer(rounds, series)
    stacked = [[each.values[place] or 0 for each in series] for place in range(len(rounds))]
    high = max(map(sum, stacked)) or 1
    ticks = _ticks(0, high) if high > _TICKS else [float(tick) for tick in range(math.ceil(high) + 1)]
    high = max(high, ticks[-1])
    step = (WIDTH - LEFT - _TO_COLUMNS) / len(rounds)
    wide = min(28.0, step * (0.72 if step > 4 else 1))

    def x(place: int) -> float:
        return LEFT + (place + 0.5) * step

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / high * (HEIGHT - TOP - BOTTOM)

    drawn = []
    for number, each in enumerate(series):
        path = []
        for place, values in enumerate(stacked):
            if values[number]:
                below = sum(values[:number])
                tall = y(below) - y(below + values[number])
                path.append(f"M{x(place) - wide / 2:.1f} {y(below):.1f}v-{tall:.1f}h{wide:.1f}v{tall:.1f}z")
        if path:
            drawn.append(tag("path", d=Markup("".join(path)), class_=each.kind))
    return _chart(key, title, described, _grid(ticks, y, WIDTH - _TO_COLUMNS), *drawn, _rounds_axis(rounds, x))


def grid(
    key: str, title: str, described: str, rounds: Sequence[int], silos: Sequence[int], kind: Callable[[int, int], str]
) -> Markup:
    """A cell for each round and silo: when a silo's work went into the model, and how much of it.

    Args:
        kind: of a round and a silo, by their numbers: the class of the cell; empty where there is none.
    """
    wide = min(32.0, (WIDTH - LEFT - _TO_COLUMNS) / len(rounds))
    size = max(6.0, min(14.0, wide))
    cells: dict[str, list[str]] = {}
    gap = min(1.5, wide / 6)
    for row, silo in enumerate(silos):
        for column, number in enumerate(rounds):
            name = kind(number, silo)
            if name:
                start = f"M{LEFT + column * wide:.1f} {row * size:.1f}"
                cells.setdefault(name, []).append(f"{start}h{wide - gap:.1f}v{size - gap:.1f}h-{wide - gap:.1f}z")
    every = max(1, math.ceil(12 / size))
    names = [
        _label(LEFT - 6, (row + 0.5) * size + 3.5, str(silo), "end")
        for row, silo in enumerate(silos)
        if row % every == 0
    ]
    height = math.ceil(len(silos) * size + 20)
    axis = _rounds_axis(rounds, lambda place: LEFT + (place + 0.5) * wide - gap / 2, height - 5)
    drawn = [tag("path", d=Markup("".join(paths)), class_=name) for name, paths in cells.items()]
    return _chart(key, title, described, *names, *drawn, axis, height=height)


def legend(*series: tuple[str, str]) -> Markup:
    """What the colours stand for.

    Args:
        series: class and name.
    """
    return tag(
        "ul", *(tag("li", tag("span", class_=f"key {kind}", aria_hidden="true"), name) for kind, name in series),
        class_="legend",
    )  # fmt: skip


def figure(title: str, chart: Markup, series: Sequence[Series]) -> Markup:
    """A chart with its title, and with a legend where it has several colours."""
    keys = legend(*((each.kind, each.name) for each in series)) if len(series) > 1 else ""
    return tag("figure", tag("figcaption", title), keys, chart)


def bar(share: float) -> Markup:
    """A share as a small bar beside its number."""
    inner = tag("rect", width=f"{max(0.0, min(1.0, share)) * 100:.1f}", height=6, class_="a")
    return tag("svg", inner, class_="bar", viewBox="0 0 100 6", preserveAspectRatio="none", aria_hidden="true")


def _chart(key: str, title: str, described: str, *drawn: Markup, height: int = HEIGHT) -> Markup:
    words = tag("title", title, id=f"{key}-title"), tag("desc", described, id=f"{key}-words")
    named = {"role": "img", "aria_labelledby": f"{key}-title {key}-words"}
    return tag("svg", *words, *drawn, class_="chart", viewBox=f"0 0 {WIDTH} {height}", **named)


def _label(x: float, y: float, words: str, anchor: str, kind: str | None = None) -> Markup:
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _grid(ticks: Sequence[float], y: Callable[[float], float], right: float) -> Markup:
    """Lines across, with what they stand for."""
    path = "".join(f"M{LEFT} {y(tick):.1f}H{right}" for tick in ticks)
    words = [_label(LEFT - 6, y(tick) + 3.5, _short(tick, ticks[1] - ticks[0]), "end") for tick in ticks]
    return join(tag("path", d=Markup(path), class_="grid"), *words)


def _rounds_axis(rounds: Sequence[int], x: Callable[[int], float], y: float = HEIGHT - 8) -> Markup:
    """The numbers of some rounds: the first, the last, and what fits between them."""
    every = max(1, math.ceil(len(rounds) / 8))
    last = len(rounds) - 1
    shown = [place for place in range(0, len(rounds), every) if place in (0, last) or last - place >= every * 0.7]
    shown += [] if last in shown else [last]
    return join(*(_label(x(place), y, str(rounds[place]), "middle") for place in shown))


def _ticks(low: float, high: float) -> list[float]:
    """Round values that span a range; one around it where it is none to speak of."""
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        around = 0.05 * max(1.0, abs(low), abs(high))
        low, high = low - around, high + around
    rough = (high - low) / _TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, last + 1)]


def _short(value: float, step: float) -> str:
    """A value at an axis: with as many decimals as the steps need, and in thousands or more where those are large."""
    size, unit = next(((size, unit) for size, unit in _UNITS if 2 * step >= size), (1, ""))
    step /= size
    decimals = next((count for count in range(6) if math.isclose(step * 10**count, round(step * 10**count))), 6)
    return f"{value / size:.{decimals}f}{unit if value else ''}"


def _fewer(rounds: Sequence[int], series: Sequence[Series]) -> tuple[Sequence[int], Sequence[Series]]:
    """Not more columns than can be told apart: each then stands for several rounds, with the mean of what they have."""
    if len(rounds) <= MOST_COLUMNS:
        return rounds, series
    each = math.ceil(len(rounds) / MOST_COLUMNS)
    starts = range(0, len(rounds), each)
    return (
        [rounds[start] for start in starts],
        [Series(one.name, one.kind, [_mean(one.values[start : start + each]) for start in starts]) for one in series],
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
