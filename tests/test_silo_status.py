"""What became of a silo's work: true in every state that a round can be in."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from chains import MEMBERS, STRANGER
from fedpact.ledger.actions import CancelRound
from fedpact.ledger.port import Follower
from fedpact.store import Cid
from fedpact_client.journal import Journal
from fedpact_client.status import statuses
from test_coordinator import COORDINATOR, Stage

OWN = MEMBERS[0]
ROW = {
    "round": 1,
    "trained": True,
    "stored": True,
    "sent": "",
    "samples": 10,
    "weight": 0,
    "total_weight": 0,
    "model": "",
    "derived_again": "",
    "failure": "",
    "why": "",
}


@pytest.fixture
def stage() -> Stage:
    """A federation before its first round."""
    return Stage()


def seen(
    stage: Stage, account: str = OWN, journal: Journal | None = None, *, latest: int = 0, last: int = 0
) -> list[dict[str, Any]]:
    """What the status says, as a program reads it."""
    follower = Follower(stage.ledger)
    follower.refresh()
    rows = statuses(follower, account, journal or Journal(), stage.blocks, latest, last)  # type: ignore[arg-type]
    found: list[dict[str, Any]] = json.loads(json.dumps([row.as_json() for row in rows]))
    return found


def test_before_the_first_round_there_is_nothing(stage: Stage) -> None:
    """Of nobody."""
    assert seen(stage) == []


def test_a_submission_is_pending_while_its_round_is_open(stage: Stage) -> None:
    """Confirmations are the blocks on top of it."""
    stage.first.step()
    (cid,) = stage.submit(1.0)
    block = Follower(stage.ledger).refresh().rounds[1].changed_in
    assert block is not None
    expected = ROW | {"confirmations": 3, "update": str(cid), "decision": "pending", "round_status": "open"}
    assert seen(stage, latest=block + 3) == [expected]
    assert seen(stage, latest=block - 1)[0]["confirmations"] == 0  # A node that is behind another.


def test_what_is_in_the_model_has_its_weight(stage: Stage) -> None:
    """And that of all; and what is left out, why."""
    stage.first.step()
    cids = stage.submit(1.0, 4.0, math.nan)
    stage.first.step()
    model = str(stage.ledger.view.rounds[1].model)
    own, next_round = seen(stage)
    assert (own["decision"], own["weight"], own["total_weight"]) == ("included", 10, 30)
    assert (own["round_status"], own["model"], own["update"]) == ("published", model, str(cids[0]))
    assert (next_round["round"], next_round["decision"], next_round["why"]) == (2, "", "")
    other = seen(stage, MEMBERS[2])[0]
    assert (other["decision"], other["weight"], other["total_weight"]) == ("excluded", 0, 30)
    assert other["why"] == "bias[0] is nan"


def test_a_round_without_a_submission_says_so(stage: Stage) -> None:
    """With what went wrong, where the silo remembers; of a stranger as well."""
    journal = Journal()
    stage.first.step()
    journal.failed(1, "round 1: trainer: ValueError: no data")
    open_row = seen(stage, MEMBERS[2], journal)[0]
    assert (open_row["decision"], open_row["why"], open_row["confirmations"]) == ("", "", None)
    stage.submit(1.0, 2.0)
    stage.ledger.advance(stage.current.terms.submit_by + 1)
    stage.first.step()
    row = seen(stage, MEMBERS[2], journal)[0]
    assert (row["trained"], row["decision"], row["why"]) == (False, "", "nothing was submitted before the round ended")
    assert row["failure"] == "round 1: trainer: ValueError: no data"
    assert seen(stage, STRANGER)[0]["why"] == "nothing was submitted before the round ended"


def test_a_cancelled_round_used_nothing(stage: Stage) -> None:
    """Whatever was submitted."""
    stage.first.step()
    stage.submit(1.0)
    stage.ledger.send(COORDINATOR, CancelRound(stage.current.number))
    row = seen(stage)[0]
    assert (row["decision"], row["why"], row["round_status"]) == ("unused", "the round was cancelled", "cancelled")
    assert seen(stage, MEMBERS[1])[0]["decision"] == ""


@pytest.mark.parametrize("fault", ["missing", "silent", "broken", "damaged"])
def test_a_manifest_that_cannot_be_read_leaves_it_open(stage: Stage, fault: str) -> None:
    """`unknown`, and why: nothing is made up."""
    stage.submitted(1.0, 2.0)
    stage.first.step()
    cid = stage.ledger.view.rounds[1].manifest
    assert cid is not None
    if fault == "damaged":
        stage.blocks.damaged[cid] = b"{}"
    else:
        getattr(stage.blocks, fault).add(cid)
    row = seen(stage)[0]
    assert (row["decision"], row["weight"]) == ("unknown", 0)
    assert str(cid) in row["why"]


def test_a_store_without_the_update_says_so(stage: Stage) -> None:
    """That others can fetch it is not known, then."""
    stage.first.step()
    (cid,) = stage.submit(1.0)
    stage.blocks.missing.add(cid)
    assert seen(stage)[0]["stored"] is False


def test_a_verdict_is_of_the_published_model(stage: Stage) -> None:
    """Of another nothing is said."""
    stage.submitted(1.0, 2.0)
    stage.first.step()
    model = stage.ledger.view.rounds[1].model
    assert model is not None
    journal = Journal()
    journal.verified(1, Cid.of(b"other"), "differs", "")
    assert seen(stage, journal=journal)[0]["derived_again"] == ""
    journal.verified(1, model, "reproduced", "")
    assert seen(stage, journal=journal)[0]["derived_again"] == "reproduced"


def test_only_the_last_rounds(stage: Stage) -> None:
    """As many as were asked for."""
    for _ in range(2):
        stage.first.step()
        stage.ledger.send(COORDINATOR, CancelRound(stage.current.number))
    assert [row["round"] for row in seen(stage)] == [1, 2]
    assert [row["round"] for row in seen(stage, last=1)] == [2]
    assert [row["round"] for row in seen(stage, last=5)] == [1, 2]
