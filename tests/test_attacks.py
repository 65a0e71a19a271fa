"""Attacks: each does what its paper says, hostile silos act last and leave no trace of being many, and the table of
what rules withstand is what happens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attacks as benchmark
import numpy as np
import pytest
from attacks import CONFIGURATIONS, HOSTILE, SILOS, Cell
from fedpact.artifacts import charter as charters
from fedpact.rules import BEFORE, RULES
from fedpact_client.data import Data
from fedpact_simulation import attacks, tasks
from fedpact_simulation.setup import prepare
from fedpact_simulation.training import TrainingHere
from runs import Copy, fedpact

PAGE = (Path(__file__).parent.parent / "docs/attacks.md").read_text("utf-8")
BASE = np.array([1.0, 2.0, 3.0])
OWN = np.array([1.5, 2.0, 1.0])
HONEST = np.array([[1.0, 2.0, 5.0], [3.0, 2.0, 5.0], [2.0, 5.0, 5.0]])


# ---------------------------------------------------------------------------------------------------------- formulas


def test_sign_flip_goes_backwards() -> None:
    """From the base, the other way, so many times as far."""
    assert attacks.sign_flip(OWN, BASE, 2.0).tolist() == [0.0, 2.0, 7.0]


def test_noise_is_drawn_around_the_base() -> None:
    """With the deviation that was asked for, in every coordinate another."""
    base = np.full(100_000, 7.0)
    step = attacks.gaussian_noise(base, 200.0, np.random.default_rng(1)) - base
    assert abs(step.mean()) < 3
    assert abs(step.std() - 200) < 3


def test_alie_hides_in_the_spread_of_the_honest() -> None:
    """Mean less z standard deviations, coordinate by coordinate; where the honest agree it agrees with them."""
    found = attacks.alie(HONEST, 1.5)
    assert np.allclose(found, [2.0 - 1.5 * (2 / 3) ** 0.5, 3.0 - 1.5 * 2**0.5, 5.0])


@pytest.mark.parametrize(("epsilon", "forward"), [(0.1, True), (2.0, True), (4.0, False)])
def test_inner_product_manipulation_turns_a_mean_around_from_a_certain_strength(epsilon: float, forward: bool) -> None:
    """Its own inner product with the honest step is negative; the mean's is once epsilon is above (K - f) / f."""
    spoilt = attacks.inner_product(HONEST, BASE, epsilon)
    step = HONEST.mean(axis=0) - BASE
    assert np.allclose(spoilt, BASE - epsilon * step)
    assert np.dot(spoilt - BASE, step) < 0
    mean = np.vstack([HONEST, spoilt]).mean(axis=0) - BASE  # (K - f) / f is 3.
    assert (np.dot(mean, step) > 0) == forward


def test_zero_is_zero() -> None:
    """Whatever the model is."""
    assert attacks.zero(BASE).tolist() == [0.0, 0.0, 0.0]


def test_one_coordinate_is_huge() -> None:
    """The one that training moved the most; the others are honest, and so is the update it was made of."""
    assert attacks.one_coordinate(OWN, BASE, 1e6).tolist() == [1.5, 2.0, 1e6]
    assert OWN.tolist() == [1.5, 2.0, 1.0]


@pytest.mark.parametrize(("classes", "flipped"), [(3, [2, 1, 0]), (0, [0, -1, -2])])
def test_flipped_labels_are_for_training_only(classes: int, flipped: list[int]) -> None:
    """Class c becomes C - 1 - c, a number its negative; what is held out is not touched."""
    data = Data(np.zeros((3, 1)), np.array([0, 1, 2]), np.zeros((1, 1)), np.array([1]))
    found = tasks.flip_labels(data, classes)
    assert found.targets.tolist() == flipped
    assert (data.targets.tolist(), found.held_out_targets.tolist()) == ([0, 1, 2], [1])


def test_the_last_silos_train_on_flipped_labels() -> None:
    """As many as are hostile; the others, and whoever judges, know nothing of it."""
    fits: list[list[Any]] = []
    for kind in ("noise", "label-flip"):
        setup = prepare("digits", silos=4, hostile_kind=kind, hostile_silos=2)
        school = TrainingHere()
        school.assign(setup.assignment)
        initial = school.initial()
        config = {**setup.charter.trainer, "round": 1}
        fits.append([school.fit(silo, initial, config).weights["coef0"] for silo in range(4)])
        fits[-1].append(school.judge(initial)["accuracy"])
    honest, poisoned = fits
    same = [bool(np.array_equal(one, other)) for one, other in zip(honest, poisoned, strict=True)]
    assert same == [True, True, False, False, True]


# ---------------------------------------------------------------------------------------------------- whole federations


def _simulate(workdir: Path, *arguments: str) -> dict[str, Any]:
    done = fedpact("simulate", *arguments, "--workdir", workdir, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_accomplices_see_the_honest_and_act_last(tmp_path: Path) -> None:
    """On a chain as in memory, with any number of threads: all updates count, though accomplices want to submit the
    same, and the audit reproduces what became of them."""
    attack = ("--hostile", "alie", "--hostile-silos", "3", "--rule", "median")
    options = ("breast_cancer", "--silos", "7", "--rounds", "2", *attack)
    chain = _simulate(tmp_path / "chain", *options, "--threads", "2")
    memory = _simulate(tmp_path / "memory", *options, "--ledger", "memory", "--threads", "1")
    assert [each["model"] for each in chain["rounds"]] == [each["model"] for each in memory["rounds"]]
    assert (chain["audit"]["reproduced"], chain["audit"]["ok"]) == (2, True)
    assert (chain["hostile"], chain["hostile_silos"]) == ("alie", 3)
    for each in chain["rounds"]:
        assert (each["submissions"], each["excluded"], each["refused"]) == (7, [], [])
    run = Copy(tmp_path / "chain", tmp_path / "copy")
    submitted = run.view.rounds[1].submissions
    assert [each.index for each in submitted] == [1, 2, 3, 4, 5, 6, 7]
    charter = charters.fetch(run.blocks, run.view.charter)
    layout = charter.layout()
    updates = [layout.decode(run.file(each.update.cid).read_bytes())["coef0"].ravel() for each in submitted]
    expected = attacks.alie(np.stack(updates[:4]).astype(np.float64), 1.5)
    for update in updates[4:]:
        assert np.allclose(update, expected, rtol=1e-6)
    assert len({each.update.cid for each in submitted}) == 7


def test_the_same_seed_gives_the_same_attack(tmp_path: Path) -> None:
    """Noise too: no two silos draw the same, no two rounds, and another seed draws another."""
    options = (
        "diabetes",
        "--silos",
        "3",
        "--rounds",
        "2",
        "--hostile",
        "noise",
        "--ledger",
        "memory",
        "--threads",
        "1",
    )
    models = [_simulate(tmp_path / name, *options, "--seed", name[0])["model"] for name in ("1a", "1b", "2a")]
    assert models[0] == models[1] != models[2]


@pytest.mark.parametrize("kind", benchmark.ATTACKS)
def test_every_attack_is_accepted(kind: str) -> None:
    """It is a well-formed update: none is excluded or refused, and the audit reproduces what became of it."""
    assert 0 <= benchmark.accuracy(Cell("median", 3, kind), rounds=1, seed=0) <= 1


# ------------------------------------------------------------------------------------------------------------ the table


def _page() -> dict[Cell, float | None]:
    """What the documentation's tables say."""
    found: dict[Cell, float | None] = {}
    told, skew = 0, None
    header: list[str] = []
    for line in PAGE[PAGE.index(benchmark.BEGIN) : PAGE.index(benchmark.END)].splitlines():
        title = re.match(
            r"\*\*(\d) of 10 silos hostile, data dealt out (?:evenly|unevenly \(Dirichlet, (.*)\))\*\*", line
        )
        if title:
            told, skew, header = int(title[1]), float(title[2]) if title[2] else None, []
        elif line.startswith("| "):
            name, *figures = (each.strip() for each in line.strip("|").split("|"))
            if not header:
                header = figures
            elif name != "---":
                for attack, figure in zip((None, *header[1:]), figures, strict=True):
                    number = None if figure == "—" else float(figure.removesuffix("\\*"))
                    found[Cell(name, told, attack, skew)] = number
    return found


SOME = (
    Cell("fedavg", 2, None),
    Cell("fedavg", 2, "sign-flip"),
    Cell("median", 3, None),
    Cell("median", 3, "noise"),
    Cell("krum", 3, "one-coordinate"),
)


def test_the_page_says_what_is_measured() -> None:
    """Some of its cells, measured again; arithmetic that differs in last bits moves them a little."""
    page = _page()
    for cell in SOME:
        figure = page[cell]
        assert figure is not None
        assert abs(benchmark.accuracy(cell, rounds=20, seed=0) - figure) <= benchmark.HELD, cell


def test_the_page_has_every_configuration_and_attack() -> None:
    """A rule that was added has its rows, and a dash where it has no answer."""
    page = _page()
    wanted = benchmark.cells((None, benchmark.SKEW))
    assert {cell for cell, figure in page.items() if figure is not None} == set(wanted)
    assert len(page) == 2 * len(HOSTILE) * len(CONFIGURATIONS) * (1 + len(benchmark.ATTACKS))


def test_the_page_keeps_its_claims() -> None:
    """What it shows is what rules' papers claim, and the mean fails."""
    shown = {cell: figure for cell, figure in _page().items() if figure is not None}
    assert benchmark.broken_claims(shown) == []


def test_every_rule_has_a_configuration() -> None:
    """None is left out of the table."""
    assert {each.rule for each in CONFIGURATIONS} == set(RULES)
    assert {each.before[0] for each in CONFIGURATIONS if each.before} == set(BEFORE)


def test_a_claim_that_does_not_hold_is_named() -> None:
    """A robust rule that lost too much, and a mean that lost too little; nothing where nothing is claimed."""
    measured = {
        Cell("krum", 3, None): 0.90,
        Cell("krum", 3, "noise"): 0.84,
        Cell("krum", 3, "sign-flip"): 0.86,
        Cell("krum", 3, "alie"): 0.10,
        Cell("krum", 3, None, 0.3): 0.90,
        Cell("krum", 3, "noise", 0.3): 0.10,
        Cell("fedavg", 2, None): 0.90,
        Cell("fedavg", 2, "sign-flip"): 0.85,
        Cell("fedavg", 2, "noise"): 0.10,
        Cell("fedavg", 2, "zero"): 0.89,
    }
    assert benchmark.broken_claims(measured) == [
        "krum, 3 of 10 silos, noise: expected to lose 0.05 at most, found 0.060",
        "fedavg, 2 of 10 silos, sign-flip: expected to lose 0.1 at least, found 0.050",
    ]


def test_a_rule_without_an_answer_is_a_dash() -> None:
    """Krum needs 2 f + 3 updates: of ten silos four are too many for it."""
    krum = next(each for each in CONFIGURATIONS if each.name == "krum")
    assert [krum.applies(SILOS, told) for told in (3, 4)] == [True, False]
    table = list(benchmark.rows({Cell("median", 2, None): 0.9}, 2, None))
    assert ["krum", *["—"] * (1 + len(benchmark.ATTACKS))] in table


def test_a_page_is_written_between_its_markers(tmp_path: Path) -> None:
    """Once more gives the same, and a page without markers is refused."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter\n")
    for _ in range(2):
        benchmark.write(page, "new")
        assert page.read_text() == f"before\n{benchmark.BEGIN}\n\nnew\n\n{benchmark.END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(benchmark.RunFailed, match="expected the lines"):
        benchmark.write(page, "new")
