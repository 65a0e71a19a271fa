"""`fedpact devnet`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedpact.ledger.facts import Address


def devnet(
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="The port; 0 for any that is free.")] = 8545,
    block_time: Annotated[
        float,
        typer.Option(
            metavar="S", min=0.1, max=3600, help="Seconds from block to block; below 1 the chain's time may run ahead."
        ),
    ] = 1.0,
    count: Annotated[int, typer.Option("--accounts", metavar="N", min=1, max=1000, help="Accounts with money.")] = 10,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the chain here, and go on from there (anvil only).")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="anvil or eth-tester; otherwise anvil where it is installed."),
    ] = None,
    funded: Annotated[
        list[str] | None,
        typer.Option(
            "--fund", metavar="ADDRESS", help="Gives 100 ether of the first account to this one, or keystore."
        ),
    ] = None,
    running: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Start none: give money (--fund) on the devnet that runs there, and end."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready, nothing else.")] = False,
) -> None:
    """Run a chain on this machine for trying things, until you stop it.

    Where anvil (of Foundry) is on the PATH, or named by the variable FEDPACT_ANVIL, it is used. Otherwise it is
    eth-tester: slower, but a real EVM, and it came with fedpact. Its keys are known to everyone.

    \b
    Examples:
      fedpact devnet
      fedpact devnet --fund coordinator.json --fund silo-1.json
      fedpact devnet --port 0 --block-time 2 --accounts 20 --json
      fedpact devnet --running http://127.0.0.1:8545 --fund another.json
    """
    from fedpact.errors import FedpactError, InputError, Interrupted
    from fedpact.suggestion import did_you_mean

    from fedpact_simulation import devnet as nodes

    if engine is not None and engine not in nodes.ENGINES:
        near = did_you_mean(engine, nodes.ENGINES)
        raise InputError(f"engine: expected {' or '.join(nodes.ENGINES)}, found {engine[:40]!r}{near}")
    to = [_address(each) for each in funded or ()]
    if running is not None:
        _fund(running, to)
        return
    node: nodes.Node | None = None
    try:
        used, node = nodes.start(engine, os.environ, port=port, count=count, block_time=block_time, state=state)
        keys = nodes.accounts(count)
        chain_id = nodes.chain_id(node.url)
        nodes.fund(node.url, chain_id, keys[0], to)
        if as_json:
            facts = {
                "url": node.url,
                "chain_id": chain_id,
                "engine": used,
                "block_time": block_time,
                "accounts": [{"address": each.address, "key": f"0x{each.key.hex()}"} for each in keys],
            }
            typer.echo(json.dumps(facts))
        else:
            lines = [f"chain {chain_id} at {node.url} ({used}), a block every {block_time:g} s"]
            lines.append("test keys, known to everyone: never send them anything of value")
            lines += [f"  {each.address}  0x{each.key.hex()}" for each in keys]
            lines += [f"  {account}  100 ether" for account in to]
            lines.append("next, in another terminal:")
            lines.append(f"  export FEDPACT_RPC={node.url} FEDPACT_KEY=0x{keys[0].key.hex()}")
            lines.append("  fedpact deploy federation.toml")
            typer.echo("\n".join(lines))
        sys.stdout.flush()
        node.wait()
        raise FedpactError(f"{used}: ended by itself")
    except Interrupted:
        pass  # That is how it ends.
    finally:
        if node is not None:
            node.stop()


def _address(given: str) -> Address:
    """An address as it is, or that of a keystore."""
    from fedpact.errors import InputError
    from fedpact.keys import stated_address
    from fedpact.ledger.facts import address

    if given.startswith("0x"):
        return address(given)
    found = stated_address(Path(given))
    if found is None:
        raise InputError(f"fund {given}: expected an address, or a keystore that says its own, found neither")
    return found


def _fund(url: str, to: list[Address]) -> None:
    """Gives money on a chain that runs.

    Raises:
        InputError: there is nobody to give it to, or no chain.
        LedgerError: the node did not take it.
    """
    from fedpact.errors import InputError

    from fedpact_simulation import devnet as nodes

    if not to:
        raise InputError("running: expected --fund with it, as there is nothing else to do on a chain that runs")
    if not url.startswith(("http://", "https://")):
        raise InputError("running: expected a URL, http://host:port, found otherwise")
    try:
        chain_id = nodes.chain_id(url)
    except (OSError, ValueError) as error:
        raise InputError(f"running: expected a devnet at this URL, found none: {str(error)[:120]}") from None
    nodes.fund(url, chain_id, nodes.accounts(1)[0], to)
    typer.echo("\n".join(f"{account}  100 ether" for account in to))
