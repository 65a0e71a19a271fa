"""What to simulate, checked as a whole before anything is written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from fedpact.artifacts.charter import Charter, parse_toml
from fedpact.artifacts.mistakes import first_mistake
from fedpact.artifacts.weights import Layout, Weights
from fedpact.errors import InputError
from fedpact.rules import BEFORE, OPTIMISERS, REGISTRY, Optimiser
from fedpact.rules.norm_clip import NormClip
from fedpact.rules.parameters import from_words
from fedpact.suggestion import did_you_mean
from fedpact.workdir import LEDGER, describe
from pydantic import ValidationError

from fedpact_simulation import chain, hostile
from fedpact_simulation.project import Project, read_project
from fedpact_simulation.training import Assignment

_MAX_SEED = 2**31 - 1


SILOS = 10
"""Of a task, where nobody says how many."""
METRICS = {"digits": "accuracy", "breast_cancer": "accuracy", "diabetes": "r2"}
"""Every built-in task, and the figure that its trainers give."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What to simulate.

    Attributes:
        task: one of `METRICS`, or the folder of a project.
        ledger: one of `chain.KINDS`.
        skew: as in `tasks.split`.
        hostile: one of `hostile.KINDS`, for the last silos; none for none.
        hostile_silos: how many they are.
        threads: what is done at once: silos that train, blocks that are aggregated.
        project: none for a task.
    """

    task: str
    silos: int
    seed: int
    skew: float | None
    charter: Charter
    ledger: str
    hostile: str | None
    hostile_silos: int
    threads: int
    project: Project | None = None

    @property
    def honest(self) -> int:
        """How many silos are honest: the first ones."""
        return self.silos - self.hostile_silos

    @property
    def metric(self) -> str:
        """Name of the score."""
        return self.charter.score

    @property
    def assignment(self) -> Assignment:
        """What whoever trains must know."""
        flipped = self.hostile_silos if self.hostile == hostile.LABEL_FLIP else 0
        given = Assignment(self.task, self.silos, self.seed, self.skew, self.charter.trainer, flipped)
        if self.project is None:
            return given
        learners = [(each.trainer, each.file) for each in self.project.silos]
        return replace(given, project=str(self.project.directory), learners=learners)

    def start_from(self, initial: Weights) -> Weights:
        """The first model: of a task, what its trainer starts from; of a project, the folder's.

        Args:
            initial: as `Training.initial` gives it.

        Raises:
            InputError: the charter's model is not what is learned.
        """
        if self.project is not None:
            self._check_project(self.project, initial)
            return self.project.genesis(self.charter.layout())
        self._check_task(initial)
        return initial

    def _check_project(self, project: Project, initial: Weights) -> None:
        """A trainer that says what it learns must mean the charter's model; dtypes are the charter's to choose."""
        agreed = {each.name: each.shape for each in self.charter.layout().tensors}
        for name in {**agreed, **initial} if initial else ():
            expected = f"shape {initial[name].shape}" if name in initial else "nothing"
            found = f"shape {agreed[name]}" if name in agreed else "nothing"
            if expected != found:
                raise InputError(
                    f"charter, model: {name}: expected {expected}, as {project.silos[0].trainer} learns it, "
                    f"found {found}; python my_model.py (fedpact_client.first_model) writes it"
                )

    def _check_task(self, initial: Weights) -> None:
        needed = Layout.of(initial)
        if self.charter.layout().header != needed.header:
            tensors = ", ".join(f"{each.name} {each.dtype} {list(each.shape)}" for each in needed.tensors)
            raise InputError(
                f"charter, model: expected what {self.charter.trainer['name']} learns on {self.task}: {tensors}"
            )


def prepare(
    task: str,
    *,
    silos: int | None = None,
    rounds: int | None = None,
    seed: int = 0,
    skew: float | None = None,
    ledger: str = chain.ETH_TESTER,
    charter: Path | None = None,
    rule: str | None = None,
    parameters: Sequence[str] = (),
    before: str | None = None,
    before_parameters: Sequence[str] = (),
    optimiser: str | None = None,
    optimiser_parameters: Sequence[str] = (),
    hostile_kind: str | None = None,
    hostile_silos: int | None = None,
    threads: int = 1,
) -> Setup:
    """Checks what a user asked for; writes nothing.

    Args:
        task: one of `METRICS`, or the folder of a project (`fedpact_simulation.project`).
        silos: of a task, otherwise `SILOS`; a project has its own.
        charter: a file that takes the place of the task's own charter, whose quorum is half of the silos, or as many
            as the rule needs.
        rounds: takes the place of the charter's number of rounds.
        rule, parameters: take the place of the charter's rule; each parameter is KEY=VALUE.
        before, before_parameters: take the place of what the charter has done before the rule.
        optimiser, optimiser_parameters: take the place of the charter's optimiser.
        hostile_silos: one, where a kind is given and no number.

    Raises:
        InputError: something cannot be, or the parts do not go together.
    """
    project = _project(task, silos=silos, skew=skew, hostile_kind=hostile_kind)
    if project is not None:
        silos, charter = len(project.silos), charter or project.charter
    silos = SILOS if silos is None else silos
    _one_of("ledger", ledger, chain.KINDS)
    _within("silos", silos, 1, 0xFFFF)
    _within("seed", seed, 0, _MAX_SEED)
    _within("threads", threads, 1, 1024)
    if rounds is not None:
        _within("rounds", rounds, 1, 10**9)
    if skew is not None and not 0 < skew < 1e6:
        raise InputError(f"skew: expected a positive number, found {skew}")
    if hostile_kind is not None:
        _one_of("hostile", hostile_kind, hostile.KINDS)
        hostile_silos = 1 if hostile_silos is None else hostile_silos
        if not 1 <= hostile_silos < silos:
            raise InputError(f"hostile-silos: expected 1 or more, and fewer than all {silos}, found {hostile_silos}")
    elif hostile_silos is not None:
        raise InputError(f"hostile-silos {hostile_silos}: expected what they do (--hostile), found nothing")
    chosen = {
        "rule": _rule(rule, parameters),
        "before": _other("before", BEFORE, before, "before-param", before_parameters),
        "optimiser": _other("optimiser", OPTIMISERS, optimiser, "optimiser-param", optimiser_parameters),
    }
    agreed = _charter(task, charter, silos, rounds, seed, chosen)
    if project is None:
        _one_of("charter, score", agreed.score, (METRICS[task],))
    return Setup(task, silos, seed, skew, agreed, ledger, hostile_kind, hostile_silos or 0, threads, project)


def _project(task: str, *, silos: int | None, skew: float | None, hostile_kind: str | None) -> Project | None:
    """The project that a user named, with none of what is for tasks alone; none where it is a task."""
    if task in METRICS:
        return None
    if not Path(task).is_dir():
        expected = f"expected one of {', '.join(METRICS)}, or a project's folder, as fedpact new makes one"
        raise InputError(f"task: {expected}, found {task[:200]!r}, which is neither{did_you_mean(task, METRICS)}")
    if silos is not None or skew is not None:
        given = f"silos {silos}" if silos is not None else f"skew {skew}"
        raise InputError(f"{given}: expected a built-in task with it; {task} says itself which silos have what")
    if hostile_kind == hostile.LABEL_FLIP:
        raise InputError(f"hostile {hostile_kind}: expected a built-in task with it; {task} has trainers of its own")
    return read_project(Path(task))


class Workdir:
    """The directory of a run: made when it begins, and left without anything unfinished.

    Args:
        wanted: a directory that is empty or does not exist.
        otherwise: where to make one with the next free number, where none is wanted.

    Raises:
        InputError: it cannot be made, or is not empty.
    """

    def __init__(self, wanted: Path | None, otherwise: Path) -> None:
        self._made = True
        try:
            if wanted is None:
                self.path = _next_free(otherwise)
            else:
                self.path = wanted
                self._made = not wanted.exists()
                if wanted.exists() and not wanted.is_dir():
                    raise InputError(f"workdir {wanted}: expected a directory, found a file")
                wanted.mkdir(parents=True, exist_ok=True)
                if any(wanted.iterdir()):
                    raise InputError(f"workdir {wanted}: {describe(wanted)}; expected a new or empty directory")
                if not os.access(wanted, os.W_OK | os.X_OK):  # A file to try it with might be left by an interrupt.
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise InputError(f"workdir {wanted or otherwise.parent}: cannot be written: {error.strerror}") from None

    def sweep(self) -> None:
        """Removes what a run left unfinished: temporary files, and everything where there is no record yet."""
        for partial in self.path.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        if (self.path / LEDGER).exists():
            return
        if self._made:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for child in self.path.iterdir():
            shutil.rmtree(child, ignore_errors=True) if child.is_dir() else child.unlink(missing_ok=True)


def _next_free(pattern: Path) -> Path:
    """Makes PATTERN-1, or -2, … whichever is the first that is not there."""
    pattern.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = pattern.with_name(f"{pattern.name}-{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


_Choice = dict[str, Any]


def _rule(name: str | None, given: Sequence[str]) -> _Choice | None:
    """A charter's section on a rule; none where the user did not choose one."""
    if name is None:
        _check_none("param", given, "a rule", "rule")
        return None
    offer = REGISTRY.installed(name)
    return {**offer.named(), "parameters": from_words(given, decimals=offer.implementation.decimals) or None}


def _other(
    what: str, known: Mapping[str, type[NormClip | Optimiser]], name: str | None, option: str, given: Sequence[str]
) -> _Choice | None:
    """A charter's section on an optimiser, or on what is done before a rule: all that they are told is decimals."""
    if name is None:
        _check_none(option, given, {"optimiser": "an optimiser"}.get(what, "something"), what)
        return None
    _one_of(what, name, tuple(known))
    parameters = from_words(given, option=option, decimals=None)
    return {"name": name, "version": known[name].version, "parameters": parameters or None}


def _check_none(option: str, given: Sequence[str], owner: str, what: str) -> None:
    if given:
        raise InputError(f"{option} {given[0]}: expected {owner} that has it (--{what}), found none")


def _charter(
    task: str,
    file: Path | None,
    silos: int,
    rounds: int | None,
    seed: int,
    chosen: Mapping[str, _Choice | None],
) -> Charter:
    if file is None:
        with resources.as_file(resources.files(__package__) / "charters" / f"{task}.toml") as path:
            own = parse_toml(Path(path))
        sections = own.model_dump()
        sections["rounds"]["quorum"] = 0xFFFF  # Until it is known how many the rule needs.
        sections["trainer"]["seed"] = seed
    else:
        own = parse_toml(file)
        sections = own.model_dump()
        if own.rounds.quorum > silos:
            raise InputError(
                f"charter {file}: rounds.quorum: expected at most {silos} (the silos), found {own.rounds.quorum}"
            )
    if rounds is not None:
        sections["stop"]["rounds"] = rounds
    for name, choice in chosen.items():
        if choice is not None and (choice["parameters"] or choice["name"] != (sections[name] or {}).get("name")):
            sections[name] = choice
    try:
        agreed = Charter.model_validate(sections)
        agreed.check_installed()
        if file is None:
            fewest = agreed.make_rule().fewest
            sections["rounds"]["quorum"] = max(-(-silos // 2), fewest)
            if fewest > silos:
                told = " and ".join(f"{key} {value}" for key, value in (agreed.rule.parameters or {}).items())
                needs = f"{agreed.rule.name}{f' with {told}' if told else ''} needs at least {fewest}"
                raise InputError(f"silos: {needs}, found {silos}")
            agreed = Charter.model_validate(sections)
        return agreed
    except ValidationError as error:
        raise InputError(f"charter: {first_mistake(error, Charter)}") from None


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        near = did_you_mean(value, allowed)
        raise InputError(f"{name}: expected one of {', '.join(allowed)}, found {value[:80]!r}{near}")


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"{name}: expected {least} to {most}, found {value}")
