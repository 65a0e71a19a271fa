"""What came of the silos' work, drawn and in numbers: scores, weights, updates left out, gas and bytes."""

from __future__ import annotations

from collections.abc import Sequence

from fedpact.report import charts
from fedpact.report.charts import Series, figure
from fedpact.report.facts import Report, RoundFacts, Submitted
from fedpact.report.markup import Markup, join, tag
from fedpact.report.tables import NOTHING, address, badge, count, cut, decimal, folded, last_rows, percent, spans, table

MOST_SILOS = 300
_MOST_LEFT_OUT = 1000
_MOST_METRICS = 6

REASONS = {
    "wrong_size": "not as many bytes as the charter's model has",
    "too_many_samples": "more samples than the charter lets an update claim",
    "score_out_of_range": "a score that the charter does not allow",
    "duplicate": "the same update as another",
    "malformed": "no file of weights",
    "wrong_header": "other tensors than the charter's",
    "not_finite": "a value that is not finite",
    "unavailable": "could not be fetched: the coordinator's word alone",
}
"""Why updates are excluded, in words."""
_DECIDED = (("included", "included", "a"), ("not_selected", "not selected", "rest"), ("excluded", "excluded", "bad"))


def learning(report: Report) -> Markup:
    """How good the models are, as the members say and as a run measured."""
    rounds = [each for each in report.rounds if each.score is not None or each.measured]
    if not rounds:
        return tag("p", "No round has a score yet, or the charter that says what a score is could not be read.")
    main, numbers = report.charter.score, [each.number for each in rounds]
    claims = [each.score for each in rounds]
    names = list(dict.fromkeys(name for each in rounds for name in each.measured))[:_MOST_METRICS]
    drawn = []
    for number, name in enumerate(dict.fromkeys([main, *names])):
        series = [Series("measured by the run", "a", [each.measured.get(name) for each in rounds])]
        series = series if name in names else []
        if name == main and any(value is not None for value in claims):
            series.insert(0, Series("mean of what the silos claim", "c" if series else "a", claims))
        if series:
            title = f"{name} by round"
            words = "; ".join(f"{each.name}: {_course(numbers, each.values)}" for each in series)
            drawn.append(figure(title, charts.lines(f"learning-{number}", title, words, numbers, series), series))
    rows = [(each.number, decimal(each.score), *(decimal(each.measured.get(one)) for one in names)) for each in rounds]
    columns = ["#round", f"#claimed {main}", *(f"#{name}" for name in names)]
    words = f"The claimed {main} is the mean of the silos' own scores on the ledger, weighted by the samples that they "
    words += "claim; nobody proves either."
    if names:
        words += " The other figures are what the run measured of each model; no head commits to them."
    return _beside(drawn, words, folded("The numbers", last_rows("learning-table", "Scores by round", columns, rows)))


def silos(report: Report) -> Markup:
    """Who took part, and how much of the models is whose."""
    highest = max((each.share for each in report.silos), default=0) or 1
    rows = []
    for each in report.silos[:MOST_SILOS]:
        span = f"from round {each.since}" + ("" if each.until is None else f", to {each.until - 1}")
        decided = [each.decisions.get(name, 0) for name, _, _ in _DECIDED]
        share = tag("span", charts.bar(each.share / highest), tag("span", percent(each.share)), class_="share")
        rows.append((each.index, address(each.address), share, each.submitted, *decided, f"{each.samples:,}", span))
    columns = [
        "#silo",
        "account",
        "#weight",
        "#submitted",
        "#included",
        "#not selected",
        "#excluded",
        "#samples",
        "member",
    ]
    words = (
        "The weight is a silo's mean share over all published rounds, under rules that weigh; samples are claims. It "
    )
    words += "says how much of a model an update is, not how much the model is better for it."
    return join(
        _beside(_grid(report), words),
        table("silos-table", "Silos: their share of the models, and what became of their updates", columns, rows),
        cut(len(report.silos), len(rows), "silos", first=True),
    )


def _grid(report: Report) -> list[Markup]:
    """Silos by rounds."""
    most_rounds, most_silos = charts.MOST_CELLS
    published, members = report.published[-most_rounds:], report.silos[:most_silos]
    if not published or not members:
        return []
    lines = {each.number: {one.index: one for one in each.submissions} for each in published}
    highest = max((one.share for each in published for one in each.submissions), default=0) or 1

    def kind(number: int, silo: int) -> str:
        one = lines[number].get(silo)
        if one is not None and one.decision == "included":
            return f"w{min(4, 1 + int(one.share / highest * 3.999))}"
        return {"excluded": "bad", "not_selected": "rest"}.get((one and one.decision) or "", "none")

    numbers = [each.number for each in published]
    title = "Each silo's update, round by round"
    words = f"Rounds {numbers[0]} to {numbers[-1]} from left to right, a row for each silo. "
    words += "; ".join(f"silo {each.index}: {each.decisions.get('included', 0)} included" for each in members[:20])
    keys = [
        ("w4", f"included, {percent(highest)} of the weight"),
        ("w1", "included, little of it"),
        ("rest", "not selected"),
        ("bad", "excluded"),
        ("none", "no update"),
    ]
    if len(numbers) < len(report.published) or len(members) < len(report.silos):
        title += f": the last {count(len(numbers), 'round')}, the first {count(len(members), 'silo')}"
    chart = charts.grid("grid", title, words, numbers, [each.index for each in members], kind)
    return [tag("figure", tag("figcaption", title), charts.legend(*keys), chart)]


def left_out(report: Report) -> Markup:
    """Which updates did not become part of a model, and why."""
    found: dict[tuple[str, int, str], list[tuple[int, Submitted]]] = {}
    for each in report.rounds:
        for one in each.submissions:
            if one.decision in ("excluded", "not_selected"):
                found.setdefault((one.decision, one.index, one.reason), []).append((each.number, one))
    if not found:
        return tag("p", "No update was left out of a model, as far as the manifests here say.")
    rows = []
    for (decision, silo, reason), where in sorted(found.items(), key=lambda item: item[0]):
        last, one = where[-1]
        detail = one.detail if len({other.detail for _, other in where}) == 1 else f"{one.detail} (round {last})"
        excluded = decision == "excluded"
        why = REASONS.get(reason, reason) if excluded else "left aside by the charter's selection"
        shown = badge("excluded", "bad") if excluded else badge("not selected", "rest")
        rows.append((silo, shown, why, detail, len(where), spans([number for number, _ in where])))
    rounds = report.published
    series = [Series(name, kind, [each.count(key) for each in rounds]) for key, name, kind in _DECIDED]
    title = "Updates by round"
    counts = [(each.number, *(each.count(key) for key, _, _ in _DECIDED)) for each in rounds]
    numbers = last_rows("updates-table", title, ["#round", *(f"#{name}" for _, name, _ in _DECIDED)], counts)
    words = "An update is excluded for what it is or claims, and an audit finds the same in its bytes; that one was "
    words += (
        "unavailable is the coordinator's word alone. Those that the charter's selection leaves aside nobody fetches."
    )
    columns = ["#silo", "decision", "why", "found", "#updates", "rounds"]
    return join(
        _beside([_columns("updates", title, rounds, series)], words, folded("The numbers", numbers)),
        table("left-out-table", "Updates that are part of no model", columns, rows[:_MOST_LEFT_OUT]),
        cut(len(rows), len(rows[:_MOST_LEFT_OUT]), "rows", first=True),
    )


def cost(report: Report) -> Markup:
    """What the rounds took: gas on the chain, bytes in the store."""
    rounds, drawn, words = report.rounds, [], []
    if not rounds:
        return tag("p", "No round was opened yet.")
    spent = [each.gas for each in rounds]
    if any(each is not None for each in spent):
        series = [
            Series("submissions", "a", [None if each is None else each.submissions for each in spent]),
            Series("publication", "rest", [None if each is None else each.publication for each in spent]),
            Series("opening", "w2", [None if each is None else each.opening for each in spent]),
        ]
        drawn.append(_columns("gas", "Gas by round", rounds, series))
    else:
        words.append("What the transactions cost is not known here.")
    taken = [each.selected_bytes for each in rounds]
    aside = [each.submitted_bytes - each.selected_bytes for each in rounds]
    series = [Series("updates to fetch", "a", taken), Series("left aside", "rest", aside)]
    drawn.append(_columns("bytes", "Bytes by round", rounds, series))
    words.append(
        "Bytes are those of the updates, as the ledger says. Whoever makes a model or checks it fetches them, but"
    )
    words.append("for those that were left aside.")
    if report.measured.elsewhere is not None:
        words.append(f"Outside of rounds (founding, admissions, attestations): {report.measured.elsewhere:,} gas.")
    rows = []
    for each in rounds:
        gas = each.gas
        parts = None if gas is None else (gas.opening, gas.submissions, gas.publication, gas.total)
        shown = [NOTHING] * 4 if parts is None else [f"{part:,}" for part in parts]
        rows.append((each.number, *shown, f"{each.submitted_bytes:,}", f"{each.selected_bytes:,}"))
    columns = ["#round", "#opening", "#submissions", "#publication", "#gas", "#bytes submitted", "#bytes to fetch"]
    numbers = last_rows("cost-table", "Gas and bytes by round", columns, rows)
    return _beside(drawn, " ".join(words), folded("The numbers", numbers))


def _beside(drawn: Sequence[Markup], words: str, *others: Markup) -> Markup:
    """Charts, and what is to be said of them: beside a single one, else below."""
    said = join(tag("p", words, class_="note"), *others)
    if len(drawn) == 1:
        return tag("div", *drawn, tag("div", said), class_="figures")
    return join(tag("div", *drawn, class_="figures"), said)


def _columns(key: str, title: str, rounds: Sequence[RoundFacts], series: Sequence[Series]) -> Markup:
    shown = [each for each in series if any(each.values)] or series[:1]
    words = "; ".join(f"{each.name}: {sum(value or 0 for value in each.values):,} in all" for each in shown)
    return figure(title, charts.columns(key, title, words, [each.number for each in rounds], shown), shown)


def _course(rounds: Sequence[int], values: Sequence[float | None]) -> str:
    """How a figure went on, in words."""
    known = [(value, number) for number, value in zip(rounds, values, strict=True) if value is not None]
    (first, start), (last, end), high, low = known[0], known[-1], max(known), min(known)
    ends = f"{decimal(first)} in round {start}, {decimal(last)} in round {end}"
    return (
        f"{ends}; the highest is {decimal(high[0])} in round {high[1]}, the lowest {decimal(low[0])} in round {low[1]}"
    )
