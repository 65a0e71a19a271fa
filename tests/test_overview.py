"""A federation and its rounds as their members see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chains import COORDINATOR, MEMBERS, OWNER
from fedpact import overview
from fedpact.artifacts import manifest as manifests
from fedpact.ending import mean_score
from fedpact.ledger.actions import Announce, Attest
from fedpact.ledger.events import RoundCancelled, RoundOpened, RoundPublished
from fedpact.ledger.facts import Hash, RoundNumber
from fedpact.ledger.port import Cursor
from fedpact.overview import Documents
from fedpact.store.cid import Cid
from fedpact.store.memory import MemoryBlocks
from fedpact.store.unixfs import read_small
from histories import History, ten_rounds


def _entries(history: History) -> Any:
    return history.ledger.read(Cursor()).entries


def _rounds(history: History) -> list[dict[str, Any]]:
    return overview.rounds(history.view, _entries(history), Documents(history.blocks))


def test_every_round_is_listed_with_its_end(tmp_path: Path) -> None:
    """Published, cancelled and open ones, with the times of their blocks."""
    history = ten_rounds(tmp_path)
    history.open()
    found = _rounds(history)
    assert [each["round"] for each in found] == list(range(1, 12))
    assert [each["status"] for each in found] == ["published"] * 3 + ["cancelled"] + ["published"] * 6 + ["open"]
    times = {
        (entry.event.round, type(entry.event)): entry.time
        for entry in _entries(history)
        if isinstance(entry.event, RoundOpened | RoundPublished | RoundCancelled)
    }
    for each in found[:-1]:
        assert each["opened"] == times[each["round"], RoundOpened]
        kind = RoundCancelled if each["status"] == "cancelled" else RoundPublished
        assert each["ended"] == times[each["round"], kind]
        if each["submissions"]:
            score = mean_score(history.view.rounds[each["round"]], history.charter)
            assert each["mean_score"] == overview.decimal(score)
    assert (found[-1]["ended"], found[-1]["model"], found[-1]["mean_score"]) == (None, None, None)
    assert (found[5]["submissions"], found[5]["expected"]) == (3, 4)


def test_what_was_rewound_does_not_stand(tmp_path: Path) -> None:
    """Its models are there, and nothing builds on them."""
    history = ten_rounds(tmp_path)
    history.rewind(8)
    history.publish(1.0)
    assert [each["round"] for each in _rounds(history) if each["stands"]] == [1, 2, 3, 5, 6, 7, 11]
    assert [each.number for each in overview.standing(history.view)] == [11, 7, 6, 5, 3, 2, 1]
    history.rewind(1)
    assert overview.standing(history.view) == []


def test_a_round_says_what_was_decided_and_why(tmp_path: Path) -> None:
    """Line by line as its manifest does, for every submission of the ledger."""
    history = ten_rounds(tmp_path)
    history.ledger.send(MEMBERS[0], Attest(RoundNumber(6), False, Cid.of(b"report")))
    current = history.view.rounds[6]
    found = overview.one_round(history.view, current, _entries(history), Documents(history.blocks))
    assert current.manifest is not None
    manifest = manifests.decode(read_small(history.blocks, current.manifest, 1 << 20))
    assert [(each["index"], each["decision"], each["weight"], each["reason"]) for each in found["submissions"]] == [
        (line.index, line.decision, line.weight, line.reason) for line in manifest.submissions
    ]
    assert [each["reason"] for each in found["submissions"]] == ["", "", "not_finite"]
    assert (found["rule"], found["unread"], found["published_by"]) == ("fedavg 1", [], COORDINATOR)
    assert found["attestations"] == [{"member": MEMBERS[0], "reproduced": False, "report": str(Cid.of(b"report"))}]


def test_without_the_store_the_ledger_is_shown_all_the_same(tmp_path: Path) -> None:
    """What could not be read is named."""
    history = ten_rounds(tmp_path)
    documents = Documents(MemoryBlocks())
    found = overview.one_round(history.view, history.view.rounds[6], _entries(history), documents)
    assert [each["decision"] for each in found["submissions"]] == [None] * 3
    assert (found["mean_score"], len(found["unread"])) == (None, 2)
    assert overview.federation(history.view, 0, documents)["charter"]["name"] is None


def test_a_document_that_is_another_is_named(tmp_path: Path) -> None:
    """A coordinator may publish any address as its manifest."""
    history = History(tmp_path)
    history.publish(1.0, 2.0)
    current = history.view.rounds[1]
    current.manifest = current.model
    documents = Documents(history.blocks)
    assert documents.manifest(current) is None
    assert documents.charter(current.base) is None
    assert len(documents.missing) == 2


def test_a_federation_now(tmp_path: Path) -> None:
    """Who may act, what is in force, where the open round stands."""
    history = ten_rounds(tmp_path)
    history.ledger.send(MEMBERS[1], Announce(Hash(b"\x07" * 32)))
    current = history.open()
    now = history.ledger.now()
    found = overview.federation(history.view, now, Documents(history.blocks))
    assert (found["owner"], found["pending_owner"], found["coordinators"]) == (OWNER, None, [COORDINATOR])
    assert (found["charter"]["name"], found["head"]) == (history.charter.name, history.head())
    assert [each["address"] for each in found["members"]] == MEMBERS
    assert [each["key"] for each in found["members"]] == [None, "0x" + "07" * 32, None, None]
    assert found["rounds"] == {"last": 11, "published": 9, "cancelled": 1}
    assert found["open"] == {
        "round": 11,
        "phase": "submission",
        "seconds_left": current.terms.submit_by - now,
        "submissions": 0,
        "expected": 4,
        "quorum": current.terms.quorum,
        "opener": COORDINATOR,
    }
    for when, phase, left in (
        (current.terms.submit_by + 1, "publication", current.terms.publish_by - current.terms.submit_by - 1),
        (current.terms.publish_by + 1, "takeover", current.takeover_by - current.terms.publish_by - 1),
        (current.takeover_by + 1, "expired", None),
    ):
        opened = overview.federation(history.view, when, Documents(history.blocks))["open"]
        assert (opened["phase"], opened["seconds_left"]) == (phase, left)
