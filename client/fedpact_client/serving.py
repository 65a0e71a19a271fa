"""A silo from its settings: what `fedpact silo` runs and shows."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fedpact.artifacts import charter as charters
from fedpact.artifacts.charter import Charter
from fedpact.cli.asking import ask_password
from fedpact.cli.connection import open_blocks, open_ledger
from fedpact.cli.options import typed_account
from fedpact.errors import InvalidCid
from fedpact.keys import read_account, stated_address
from fedpact.ledger.facts import Address, address
from fedpact.ledger.port import Follower
from fedpact.service.loop import Outcome
from fedpact.service.station import Station
from fedpact.settings import Settings, key_file
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.pins import hold
from fedpact.store.unixfs import add
from rich.console import Console
from rich.table import Table

from fedpact_client.journal import Journal
from fedpact_client.loading import load_trainer
from fedpact_client.service import SiloService
from fedpact_client.silo import Silo
from fedpact_client.status import RoundStatus, statuses
from fedpact_client.verification import Verifier


def steps_of(settings: Settings) -> Callable[[Station], Callable[[], Outcome]]:
    """What makes a silo's steps of its station.

    Raises:
        InputError: a setting is missing.
    """
    trainer, accepted = settings.need("trainer"), settings.need("charter")

    def steps(station: Station) -> Callable[[], Outcome]:
        cid, charter = _accept(accepted, station.blocks)
        silo = Silo(
            station.ledger,
            station.account,
            station.blocks,
            station.follower,
            load_trainer(trainer, settings.trainer_config, charter.trainer),
            cid,
            journal=Journal(journal_path(settings, station.account)),
            verifier=None
            if settings.verify is None
            else Verifier(station.ledger.identity, station.blocks, settings.verify, settings.threads),
        )
        return SiloService(silo).step

    return steps


def journal_path(settings: Settings, account: Address) -> Path:
    """Where a silo's journal is."""
    return settings.state / f"{account}.rounds.jsonl"


def _accept(given: str, blocks: Blocks) -> tuple[Cid, Charter]:
    """The charter that the owner accepted, by its address or as a file."""
    try:
        cid = Cid.parse(given)
    except InvalidCid:
        charter = charters.parse_toml(Path(given))
        cid = add(blocks, charter.encode()).root
        hold(blocks, cid)
        return cid, charter
    return cid, charters.fetch(blocks, cid)


def show_status(settings: Settings, account: str | None, last: int, *, as_json: bool) -> None:
    """Prints what became of a silo's work.

    Raises:
        FedpactError: it cannot be found out.
    """
    own = typed_account(account) if account is not None else _own_account(settings)
    with contextlib.closing(open_blocks(settings)) as blocks, contextlib.closing(open_ledger(settings)) as ledger:
        follower = Follower(ledger)
        view = follower.refresh()
        journal = Journal(journal_path(settings, own))
        rows = statuses(follower, own, journal, blocks, ledger.latest(), last)
    if as_json:
        member = view.members.get(own)
        answer = {"account": own, "member": None if member is None else member.index}
        sys.stdout.write(json.dumps({**answer, "rounds": [row.as_json() for row in rows]}) + "\n")
        return
    _show(own, rows, member=own in view.members)


def _own_account(settings: Settings) -> Address:
    """The account of the key file: by the keystore's own word where it has one, else by its key."""
    file = key_file(settings, os.environ)
    stated = None if file is None else stated_address(file)
    if stated is not None:
        return stated
    return address(read_account(file, os.environ, ask_password, settings.password_file).address)


def _show(own: Address, rows: list[RoundStatus], *, member: bool) -> None:
    console = Console()
    if not member:
        console.print(f"{own} was never a member", highlight=False)
    table = Table(box=None, header_style="bold")
    for name in ("round", "trained", "stored", "on the ledger", "weight", "round was", "re-derived"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.round),
            "yes" if row.trained else "no",
            "yes" if row.stored else "no",
            _on_ledger(row),
            _in_model(row),
            row.round_status,
            row.derived_again or "no",
        )
    console.print(table)
    for row in rows:
        why = row.failure or (row.why if row.decision not in ("included", "pending", "") else "")
        if why:
            console.print(f"- round {row.round}: {why}", markup=False, highlight=False, soft_wrap=True)


def _on_ledger(row: RoundStatus) -> str:
    if row.confirmations is not None:
        return f"{row.confirmations} blocks ago"
    return "sent" if row.sent else "no"


def _in_model(row: RoundStatus) -> str:
    if row.decision == "included":
        return f"{row.weight} of {row.total_weight}"
    return row.decision or "no"
