"""The loop of a service: what goes wrong is said and tried again, what there is to say is said once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from fedpact.errors import FedpactError, InputError, Interrupted, LedgerError, NotInstalled, WrongArithmetic
from fedpact.service.loop import Acted, Outcome, Over, Waiting, run


class Script:
    """Steps that do what a test says, one after another, and all pauses between them."""

    def __init__(self, *outcomes: Outcome | BaseException) -> None:
        self.left: list[Outcome | BaseException] = list(outcomes)
        self.pauses: list[float] = []
        self.failed: list[FedpactError] = []
        self.steps = 0

    def step(self) -> Outcome:
        self.steps += 1
        outcome = self.left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def run(self, went_well: Callable[[], None] = lambda: None) -> str:
        return run(self.step, poll=0.5, sleep=self.pauses.append, failed=self.failed.append, went_well=went_well)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], Sequence[str]]:
    """What was said so far, with the first letter of its level."""
    caplog.set_level("INFO")
    return lambda: [f"{record.levelname[0]} {record.getMessage()}" for record in caplog.records]


@pytest.mark.parametrize("error", [InputError("a"), NotInstalled("b"), WrongArithmetic("c"), Interrupted(15)])
def test_what_no_second_try_mends_ends_it(error: BaseException) -> None:
    """A charter whose rule is not installed, or a signal: nothing is tried again."""
    script = Script(Waiting("for a round"), error)
    with pytest.raises(type(error)):
        script.run()
    assert (script.steps, script.failed) == (2, [])


def test_what_goes_wrong_is_tried_again_later_and_later(said: Callable[[], Sequence[str]]) -> None:
    """The pauses grow to half a minute, and a fault that lasts is said now and then; so is its end."""
    errors = [LedgerError("the node is away") for _ in range(25)]
    script = Script(*errors, Over("done"))
    assert script.run() == "done"
    assert script.failed == errors
    assert len(script.pauses) == 25
    for place, pause in enumerate(script.pauses):
        most = min(30.0, 0.5 * 2**place)
        assert most / 2 <= pause <= most
    assert said() == ["W the node is away"] * 2


def test_another_fault_is_said_at_once(said: Callable[[], Sequence[str]]) -> None:
    """Whatever was said before."""
    script = Script(LedgerError("one"), LedgerError("two"), LedgerError("one"), Waiting("x"), Over("done"))
    script.run()
    assert said() == ["W one", "W two", "W one", "I waiting: x", "I it works again after 3 failed tries"]


def test_pauses_are_short_again_after_a_success() -> None:
    """What went wrong before it does not count."""
    script = Script(*[LedgerError("x")] * 9, Acted("a"), LedgerError("x"), Over("done"))
    script.run()
    assert script.pauses[-1] <= 0.5


def test_what_it_waits_for_is_said_once(said: Callable[[], Sequence[str]]) -> None:
    """And again when something happened in between."""
    again = Waiting("a round")
    script = Script(again, again, Waiting("updates"), again, Acted("opened"), again, Over("done"))
    script.run()
    expected = ["waiting: a round", "waiting: updates", "waiting: a round", "opened", "waiting: a round"]
    assert said() == [f"I {each}" for each in expected]
    assert script.pauses == [0.5] * 5


def test_after_an_action_it_goes_on_at_once() -> None:
    """There may be more to do."""
    script = Script(Acted("a"), Acted("b"), Over("done"))
    script.run()
    assert script.pauses == []


def test_what_was_done_is_said_although_looking_around_fails(said: Callable[[], Sequence[str]]) -> None:
    """A publication is on the ledger, whether or not the node then tells the balance."""
    faults = [LedgerError("no balance")]

    def went_well() -> None:
        if faults:
            raise faults.pop()

    script = Script(Acted("published"), Waiting("x"), Over("done"))
    script.run(went_well)
    assert said() == ["I published", "W no balance", "I waiting: x", "I it works again after 1 failed try"]
    assert len(script.failed) == 1


def test_a_mistake_in_a_step_is_no_fault_to_try_again() -> None:
    """It ends the process, which says where."""
    with pytest.raises(ZeroDivisionError):
        Script(ZeroDivisionError()).run()
