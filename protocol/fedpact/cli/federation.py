"""`fedpact federation`: what its owner does, and what everyone may see of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import READING, SENDING, STORES, WRITING, AsJson, typed_account, with_settings
from fedpact.errors import FedpactError, InputError
from fedpact.settings import Settings

if TYPE_CHECKING:
    from fedpact.administration import Todo
    from fedpact.artifacts.charter import Charter
    from fedpact.ledger.facts import Address
    from fedpact.ledger.port import Receipt
    from fedpact.ledger.view import View

federation_group = typer.Typer(
    help="A federation on a chain: what is there, and what its owner decides.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Account = Annotated[str, typer.Argument(metavar="ADDRESS", help="An account: 0x and 40 hexadecimal digits.")]
_Round = Annotated[int, typer.Argument(metavar="ROUND", help="The number of a round.", min=1)]


@federation_group.command()
@with_settings(*READING, *STORES)
def show(settings: Settings, as_json: AsJson = False) -> None:
    """Show a federation as it is now: owner, charter, members, coordinators, the open round, the head.

    The contract's code is compared with that of this fedpact first.

    \b
    Examples:
      fedpact federation show --rpc http://127.0.0.1:8545 --contract federation.deployment.json
      fedpact federation show --json
    """
    from fedpact import overview
    from fedpact.cli.connection import open_blocks, open_follower, open_ledger
    from fedpact.ledger.artifact import federation

    with closing(open_ledger(settings)) as ledger, closing(open_blocks(settings, writable=False)) as blocks:
        view = open_follower(ledger).refresh()
        found = overview.federation(view, ledger.now(), overview.Documents(blocks))
    found["code"] = {"bytes": len(federation().runtime), "compiler": federation().compiler}
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        _show(found)


@federation_group.command()
@with_settings(*SENDING)
def admit(
    settings: Settings,
    accounts: Annotated[list[str], typer.Argument(metavar="ADDRESS", help="Accounts of silos.")],
    as_json: AsJson = False,
) -> None:
    """Make accounts members, from the next round on.

    \b
    Example:
      fedpact federation admit 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --key-file owner.json
    """
    from fedpact import administration

    wanted = [typed_account(each) for each in accounts]
    _carry_out(settings, lambda view, own: administration.admit(view, wanted), as_json=as_json)


@federation_group.command()
@with_settings(*SENDING)
def remove(settings: Settings, account: _Account, as_json: AsJson = False) -> None:
    """End a membership, from the next round on. Admitted again, the account has its old index.

    \b
    Example:
      fedpact federation remove 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --key-file owner.json
    """
    from fedpact import administration

    wanted = typed_account(account)
    _carry_out(settings, lambda view, own: administration.remove(view, wanted), as_json=as_json)


@federation_group.command()
@with_settings(*SENDING)
def appoint(settings: Settings, account: _Account, as_json: AsJson = False) -> None:
    """Let an account open and publish rounds.

    \b
    Example:
      fedpact federation appoint 0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65 --key-file owner.json
    """
    from fedpact import administration

    wanted = typed_account(account)
    _carry_out(settings, lambda view, own: administration.appoint(view, wanted), as_json=as_json)


@federation_group.command()
@with_settings(*SENDING)
def dismiss(settings: Settings, account: _Account, as_json: AsJson = False) -> None:
    """Forbid an account to open and publish rounds.

    \b
    Example:
      fedpact federation dismiss 0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65 --key-file owner.json
    """
    from fedpact import administration

    wanted = typed_account(account)
    _carry_out(settings, lambda view, own: administration.dismiss(view, wanted), as_json=as_json)


@federation_group.command()
@with_settings(*SENDING, *WRITING)
def amend(
    settings: Settings,
    charter: Annotated[Path, typer.Argument(metavar="CHARTER.toml", help="The new charter.")],
    other_model: Annotated[
        bool, typer.Option("--other-model", help="Even where no model so far fits the new charter.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put another charter in force, from the next opened round on.

    The store gets it before the contract names it. A charter whose model has other tensors is refused: the next round
    would start from a model that does not fit it.

    \b
    Example:
      fedpact federation amend charter-2.toml --key-file owner.json
    """
    from fedpact import administration
    from fedpact.artifacts.charter import parse_toml
    from fedpact.cli.connection import open_blocks
    from fedpact.overview import Documents
    from fedpact.store.pins import hold
    from fedpact.store.unixfs import add

    new = parse_toml(charter)
    with closing(open_blocks(settings)) as blocks:

        def decide(view: View, own: Address) -> Todo:
            note = _compare(charter, new, Documents(blocks).charter(view.charter), other_model=other_model)
            cid = add(blocks, new.encode()).root
            hold(blocks, cid)
            todo = administration.amend(view, cid, new.contract_limits())
            where = f"{cid} is in {blocks.written[0].name}: coordinator and silos must be able to read it there"
            return administration.Todo(todo.actions, [*todo.notes, *([note] if note else []), where])

        _carry_out(settings, decide, as_json=as_json)


@federation_group.command()
@with_settings(*SENDING)
def rewind(settings: Settings, number: _Round, as_json: AsJson = False) -> None:
    """Go back to the model that a round started from: what was published since is disowned, never erased.

    No round may be open.

    \b
    Example:
      fedpact federation rewind 7 --key-file owner.json
    """
    from fedpact import administration

    _carry_out(settings, lambda view, own: administration.rewind(view, number), as_json=as_json)


@federation_group.command()
@with_settings(*SENDING)
def cancel(settings: Settings, number: _Round, as_json: AsJson = False) -> None:
    """End an open round without a model. The next one starts from the same base.

    \b
    Example:
      fedpact federation cancel 7 --key-file owner.json
    """
    from fedpact import administration

    _carry_out(settings, lambda view, own: administration.cancel(view, number), as_json=as_json)


@federation_group.command()
@with_settings(*SENDING)
def transfer(
    settings: Settings,
    account: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="Who is offered it; none with --withdraw.")
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take an offer back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Offer the ownership to an account. It passes when that account accepts it.

    \b
    Example:
      fedpact federation transfer 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --key-file owner.json
    """
    from fedpact import administration
    from fedpact.ledger.facts import ZERO_ADDRESS

    if (account is None) != withdraw:
        raise InputError("transfer: expected either an address or --withdraw")
    wanted = ZERO_ADDRESS if account is None else typed_account(account)
    _carry_out(settings, lambda view, own: administration.transfer(view, wanted), as_json=as_json)


@federation_group.command()
@with_settings(*SENDING)
def accept(settings: Settings, as_json: AsJson = False) -> None:
    """Take the ownership that was offered to the account of this key.

    \b
    Example:
      fedpact federation accept --key-file owner.json
    """
    from fedpact import administration

    _carry_out(settings, administration.accept, as_json=as_json)


def _carry_out(settings: Settings, decide: Callable[[View, Address], Todo], *, as_json: bool) -> None:
    """Sends what is left to be done, and says what became of it.

    Raises:
        FedpactError: it cannot be done, or the contract refused it.
    """
    from fedpact.administration import in_words
    from fedpact.cli.connection import open_follower, open_ledger
    from fedpact.cli.key import read_owner
    from fedpact.ledger.facts import address

    settings.need("rpc"), settings.need("contract")  # Before anyone is asked for a password.
    account = read_owner(settings)
    own = address(account.address)
    with closing(open_ledger(settings, [account])) as ledger:
        todo = decide(open_follower(ledger).refresh(), own)
        sent: list[Receipt] = []
        for action in todo.actions:
            receipt = ledger.send(own, action)
            sent.append(receipt)
            if not as_json:
                _say(*map(in_words, receipt.events), *_described(receipt))
    if not as_json:
        _say(*(f"note: {each}" for each in todo.notes))
        return
    answer = {
        "sent": [_summary(each) for each in sent],
        "done": [in_words(event) for each in sent for event in each.events],
        "notes": list(todo.notes),
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def _compare(path: Path, new: Charter, old: Charter | None, *, other_model: bool) -> str | None:
    """Whether the model of a new charter is that of the one in force; returns what a person should know.

    Raises:
        FedpactError: it is another one, and that was not asked for.
    """
    if old is None and other_model:
        return "the charter in force is not in the store: whether its model has the same tensors was not checked"
    if old is None:
        raise FedpactError(
            f"charter {path}: the charter in force is not in the stores, so whether its model has the same tensors "
            "cannot be checked (--store names others; --other-model amends all the same)"
        )
    if new.layout().header == old.layout().header:
        return None
    if other_model:
        return "the model has other tensors: the next round starts from a model that does not fit it"
    raise FedpactError(
        f"charter {path}: model: expected the tensors of the charter in force, found others; the next round would "
        "start from a model that does not fit (--other-model amends all the same)"
    )


def _described(receipt: Receipt) -> list[str]:
    return [
        f"{name}: {value:,}" if name != "transaction" else f"{name}: {value}"
        for name, value in _summary(receipt).items()
    ]


def _summary(receipt: Receipt) -> dict[str, Any]:
    return {"transaction": "0x" + receipt.transaction.hex(), "block": receipt.block, "gas": receipt.gas or 0}


def _say(*lines: str) -> None:
    from fedpact.cli.audit import printable

    for line in lines:
        typer.echo(printable(line))


def _show(found: dict[str, Any]) -> None:
    """A federation as a person reads it."""
    limits, rounds, current = found["limits"], found["rounds"], found["open"]
    name = found["charter"]["name"]
    pending = found["pending_owner"]
    _say(
        f"chain: {found['chain']}",
        f"contract: {found['contract']}",
        f"code: {found['code']['bytes']:,} bytes, as compiled by solc {found['code']['compiler']}",
        f"owner: {found['owner']}" + (f", offered to {pending}" if pending else ""),
        f"charter: {found['charter']['cid']} ({'not in the store' if name is None else name})",
        f"limits: quorum at least {limits['min_quorum']}, phases at least {limits['min_phase']} s, "
        f"rounds at most {limits['max_round']} s",
        f"members: {sum(each['until'] is None for each in found['members'])}",
    )
    for each in found["members"]:
        span = f"from round {each['since']}" + ("" if each["until"] is None else f" to before round {each['until']}")
        _say(f"  {each['index']:>5}  {each['address']}  {span}{'' if each['key'] is None else ', key announced'}")
    _say(f"coordinators: {len(found['coordinators'])}", *(f"         {each}" for each in found["coordinators"]))
    _say(f"rounds: {rounds['last']} ({rounds['published']} published, {rounds['cancelled']} cancelled)")
    if current is None:
        _say("open: none")
    else:
        left = "past all deadlines" if current["seconds_left"] is None else f"{current['seconds_left']} s left"
        _say(
            f"open: round {current['round']}, {current['phase']}, {left}; {current['submissions']} of "
            f"{current['expected']} submissions, quorum {current['quorum']}"
        )
    _say(f"base: {found['base']}", f"head: {found['head']}")
