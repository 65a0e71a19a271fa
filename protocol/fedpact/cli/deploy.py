"""`fedpact deploy`, and what it shares with `scripts/deploy.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpact.cli.options import AsJson, ChainId, Config, KeyFile, PasswordFile, Rpc, Store, settings_from
from fedpact.errors import Interrupted
from fedpact.settings import DEFAULT

if TYPE_CHECKING:
    from fedpact.deployment.deploy import Outcome


def deploy(
    federation: Annotated[
        Path, typer.Argument(metavar="federation.toml", help="Charter, first model, and who may act.")
    ],
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What was done; else NAME.deployment.json beside the file.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Deploy even if it was done before; keeps the record.")
    ] = False,
    as_json: AsJson = False,
    rpc: Rpc = None,
    chain_id: ChainId = None,
    store: Store = None,
    key_file: KeyFile = None,
    password_file: PasswordFile = None,
    config: Config = None,
) -> None:
    """Put a federation on a chain: the contract, then its members and coordinators.

    The first run deploys; a later one finds that federation through the record and adds only who is missing, whatever
    cut the first one off. It never removes or dismisses anyone. The store gets the charter and the first model; without
    --store it is the directory `store` beside the file. --rpc eth-tester rehearses it on a chain within this process.

    Exit code 0: the federation is there, and this key has nothing to add. 1: the chain could not do it. 2: something
    that was given cannot be used.

    \b
    Examples:
      fedpact deploy federation.toml --rpc http://127.0.0.1:8545 --key-file owner.json
      fedpact deploy federation.toml --rpc eth-tester
    """
    try:
        outcome, kept = found_federation(federation, locals(), record=record, again=again)
    except Interrupted as error:
        said = "interrupted; the same command continues, without --again"
        raise Interrupted(error.exit_code - 128, said) from None
    tell(outcome, kept, as_json=as_json)


def found_federation(
    federation: Path, flags: Mapping[str, Any], *, record: Path | None, again: bool
) -> tuple[Outcome, Path | None]:
    """Deploys; returns what was done, and where the record is.

    Args:
        flags: as `settings_from` takes them.

    Raises:
        FedpactError: it could not be done.
    """
    from fedpact.cli.connection import connect, open_blocks
    from fedpact.cli.key import read_owner
    from fedpact.deployment.deploy import REHEARSAL, rehearse
    from fedpact.deployment.deploy import deploy as carry_out
    from fedpact.deployment.plan import read_plan
    from fedpact.deployment.record import RecordFile
    from fedpact.store.directory import DirectoryBlocks

    plan = read_plan(federation)
    if flags.get("rpc") == [REHEARSAL]:
        return rehearse(plan), None
    settings = settings_from(flags)
    record = record or federation.parent / f"{federation.stem}.deployment.json"
    settings.need("rpc")  # Before anyone is asked for a password.
    account, web3 = read_owner(settings), connect(settings)
    beside = settings.origin["store"] == DEFAULT
    with ExitStack() as stack:
        stack.callback(web3.provider.close)  # type: ignore[attr-defined]  # Ours can be closed.
        blocks = stack.enter_context(
            closing(DirectoryBlocks(federation.parent / "store") if beside else open_blocks(settings))
        )
        return carry_out(web3, account, plan, blocks, RecordFile(record), again=again), record


def tell(outcome: Outcome, record: Path | None, *, as_json: bool) -> None:
    """What was done, for a person or a program."""
    from fedpact.deployment.deploy import describe, summary

    if as_json:
        kept = None if record is None else str(record)
        sys.stdout.write(json.dumps({**summary(outcome), "record": kept, "rehearsal": record is None}) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in describe(outcome, record))
