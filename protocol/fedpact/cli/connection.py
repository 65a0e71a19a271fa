"""Opening what the settings name: a federation on a chain, a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from web3 import Web3

from fedpact.deployment import deploy
from fedpact.errors import LedgerError
from fedpact.ledger.answers import asking
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.fees import Fees
from fedpact.ledger.port import Follower
from fedpact.settings import Settings
from fedpact.store.opening import open_store
from fedpact.store.several import SeveralBlocks

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


def connect(settings: Settings) -> Web3:
    """A connection to the nodes that the settings name.

    Raises:
        InputError: they name none.
        LedgerError: no node can be asked, or it is of another chain than the settings say.
    """
    web3 = deploy.connect(settings.need("rpc")[0])
    if settings.chain_id is not None:
        with asking("rpc"):
            found = web3.eth.chain_id
        if found != settings.chain_id:
            raise LedgerError(f"chain: expected {settings.chain_id} ({settings.origin['chain_id']}), found {found}")
    return web3


def open_ledger(
    settings: Settings, accounts: Iterable[LocalAccount] = (), *, journal: Path | None = None
) -> EthereumLedger:
    """The federation that the settings name.

    Args:
        accounts: keys that may send.
        journal: as for `EthereumLedger`.

    Raises:
        InputError: they name none.
        LedgerError: no node can be asked, or there is no federation at the address.
    """
    contract = settings.need("contract")
    web3 = connect(settings)
    with asking("rpc"):
        return EthereumLedger(
            web3,
            contract,
            accounts,
            journal=journal,
            fees=Fees() if settings.max_fee is None else Fees(max_fee=settings.max_fee),
            confirmations=settings.confirmations or 0,
            first_block=settings.first_block,
        )


def open_follower(settings: Settings, ledger: EthereumLedger) -> Follower:
    """Reads a ledger, with what was read before from the state directory, where there is one."""
    return Follower(ledger)


def open_blocks(settings: Settings, *, writable: bool = True) -> SeveralBlocks:
    """The stores that the settings name, as one.

    Raises:
        InputError: one is no store.
    """
    return open_store(settings.store, writable=writable)
