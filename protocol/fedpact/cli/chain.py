"""The record of a contract, read from its chain, and its audit."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from fedpact.audit import Audit, Audited, Finding, audit
from fedpact.cli.connection import open_blocks, open_ledger
from fedpact.errors import RecordInconsistent
from fedpact.ledger.facts import Hash
from fedpact.ledger.port import Follower
from fedpact.ledger.record import CHAIN, Record
from fedpact.settings import Settings


def read_chain(settings: Settings) -> Record:
    """Every entry of the contract that counts as confirmed.

    Raises:
        InputError: the settings name no node, or no contract.
        LedgerError: it cannot be read.
        RecordInconsistent: what the node shows cannot be the contract's.
    """
    with closing(open_ledger(settings)) as ledger:
        follower = Follower(ledger)
        _refresh(follower, settings)
        confirmed = tuple(entry for entry in follower.entries if follower.is_confirmed(entry))
        return Record(ledger.identity, CHAIN, confirmed)


def read_gas(settings: Settings, read: Record) -> dict[Hash, int]:
    """What the transactions of a record cost, as far as the chain tells.

    Raises:
        LedgerError: it cannot be asked.
    """
    with closing(open_ledger(settings)) as ledger:
        return ledger.gas(list(dict.fromkeys(entry.transaction for entry in read.entries)))


def audit_chain(settings: Settings, **asked: Any) -> Audited:
    """Audits a contract by what its chain and the stores say.

    Args:
        asked: as `fedpact.audit.audit`.

    Raises:
        FedpactError: as `read_chain` and `fedpact.audit.audit`.
    """
    with closing(open_ledger(settings)) as ledger, closing(open_blocks(settings, writable=False)) as blocks:
        follower = Follower(ledger)
        try:
            _refresh(follower, settings)
        except RecordInconsistent as error:
            found = Finding(0, "record", "entries of one contract", str(error))
            return Audited(Audit(asked["scope"], findings=[found]), ledger.identity)
        entries = [entry for entry in follower.entries if follower.is_confirmed(entry)]
        return Audited(audit(ledger.identity, entries, blocks, **asked), ledger.identity)


def _refresh(follower: Follower, settings: Settings) -> None:
    """Reads everything; after a contradiction once more for each further node: one may withhold an entry.

    Raises:
        LedgerError, RecordInconsistent: as `Follower.refresh`, the last time.
    """
    for _ in settings.need("rpc")[1:]:
        try:
            follower.refresh()
            return
        except RecordInconsistent:
            continue  # The node that answered is doubted now: the next is asked first.
    follower.refresh()
