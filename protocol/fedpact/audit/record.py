"""The record as a whole: entries, heads, charters, openings, rewinds and the first model. Always checked, whatever the
scope of an audit.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedpact.artifacts import charter as charters
from fedpact.artifacts.charter import Charter
from fedpact.audit.findings import Audit, Finding, damage
from fedpact.ending import Standing
from fedpact.errors import ContentError, RecordInconsistent, StoreError
from fedpact.ledger.events import CharterAmended, Entry, Founded, Rewound
from fedpact.ledger.facts import Hash, Identity
from fedpact.ledger.pact import replay
from fedpact.ledger.view import Round, Status, View
from fedpact.rules import FedAvg
from fedpact.rules.engine import aggregate
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.unixfs import open_file


def check_record(
    identity: Identity, entries: Sequence[Entry], blocks: Blocks, trusted_head: Hash | None, result: Audit, threads: int
) -> dict[Cid, Charter]:
    """Checks everything but the rounds, and notes in `result` what it finds and which rounds were published.

    Returns:
        Every charter that could be read.
    """
    view = View(identity)
    try:
        for entry in entries:
            replay(view, entry)
            if isinstance(entry.event, Rewound):
                _check_rewind(view, entry.event, result)
    except RecordInconsistent as error:
        result.findings.append(Finding(0, "record", "an entry that the contract cannot have written", str(error)))
    if not view.founded:
        result.findings.append(Finding(0, "record", "a federation", "no founding entry"))
        return {}
    result.head = view.head
    result.published = view.published
    result.cancelled = sum(each.status is Status.CANCELLED for each in view.rounds.values())
    if trusted_head is not None:
        result.anchored = view.head == trusted_head
        if not result.anchored:
            result.findings.append(Finding(0, "head", "0x" + trusted_head.hex() + " (trusted)", "0x" + view.head.hex()))
    last_words = {(each.round, each.member): each.reproduced for each in view.attestations}
    result.attested = sum(last_words.values())
    result.disputed = len(last_words) - result.attested

    known = _read_charters(entries, blocks, result)
    _check_openings(view, known, result)
    _check_genesis(
        view, known.get(view.rounds[1].charter if 1 in view.rounds else view.charter), blocks, result, threads
    )
    return known


def _read_charters(entries: Sequence[Entry], blocks: Blocks, result: Audit) -> dict[Cid, Charter]:
    """Every charter that was ever in force; its limits must be those that the contract enforces."""
    known: dict[Cid, Charter] = {}
    for entry in entries:
        event = entry.event
        if not isinstance(event, Founded | CharterAmended):
            continue
        try:
            charter = known.get(event.charter) or charters.fetch(blocks, event.charter)
        except ContentError as error:
            result.findings.append(Finding(0, "charter", str(event.charter), damage(event.charter, error)))
            continue
        except StoreError as error:
            result.unchecked.append(f"charter: {error}")
            continue
        if charter.contract_limits() != event.limits:
            result.findings.append(Finding(0, "charter, limits", str(event.limits), str(charter.contract_limits())))
        known[event.charter] = charter
    return known


def _check_openings(view: View, known: dict[Cid, Charter], result: Audit) -> None:
    """No round was opened once its charter had ended the federation. The first that was is named, where charters can be
    read.

    An amendment may land between a coordinator's decision and its transaction, which names no charter. So the first
    round by a charter counts only where the charter before would have ended the federation, too.
    """
    rounds = list(view.rounds.values())
    standings: dict[Cid, tuple[Standing, list[Round]]] = {}

    def over(charter: Cid, place: int) -> str | None:
        """Why the rounds before a place ended the federation by a charter; none too where it cannot be read."""
        if charter not in known:
            return None
        standing, counted = standings.setdefault(charter, (Standing(known[charter]), []))
        for each in rounds[len(counted) : place]:
            standing.count(each)
            counted.append(each)
        return standing.ending()

    for place, current in enumerate(rounds):
        before = rounds[place - 1].charter if place else current.charter
        why = over(current.charter, place)
        if why is not None and (before == current.charter or over(before, place) is not None):
            finding = Finding(current.number, "opening", f"a round by charter {current.charter}", f"its end: {why}")
            result.findings.append(finding)
            return


def _check_genesis(view: View, charter: Charter | None, blocks: Blocks, result: Audit, threads: int) -> None:
    """The model that everything starts from must be one."""
    if charter is None:
        return
    layout = charter.layout()
    try:
        genesis = open_file(blocks, view.genesis, layout.size)
        outcome = aggregate(layout, FedAvg(), [genesis], [1], keep=lambda index, leaf: None, threads=threads)
        for error in outcome.missing.values():
            raise error
        for fault in outcome.faults.values():
            result.findings.append(Finding(0, "genesis", str(view.genesis), fault.detail))
    except ContentError as error:
        result.findings.append(Finding(0, "genesis", str(view.genesis), damage(view.genesis, error)))
    except StoreError as error:
        result.unchecked.append(f"genesis: {error}")


def _check_rewind(view: View, event: Rewound, result: Audit) -> None:
    earlier = view.rounds[event.round].base
    if earlier != event.base:
        result.findings.append(Finding(event.round, "rewind, base", str(event.base), str(earlier)))
