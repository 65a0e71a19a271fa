"""Opening what the settings name: a federation on a chain, a store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fedpact.deployment.deploy import connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.fees import Fees
from fedpact.ledger.port import Follower
from fedpact.settings import Settings
from fedpact.store.opening import open_store
from fedpact.store.several import SeveralBlocks

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


def open_ledger(
    settings: Settings, accounts: Iterable[LocalAccount] = (), *, journal: Path | None = None
) -> EthereumLedger:
    """The federation that the settings name.

    Raises:
        InputError: they name none.
        LedgerError: no node can be asked, or there is no federation at the address.
    """
    urls, contract = settings.need("rpc"), settings.need("contract")
    fees = Fees() if settings.max_fee is None else Fees(max_fee=settings.max_fee)
    return EthereumLedger(
        connect(urls[0]),
        contract,
        accounts,
        journal=journal,
        fees=fees,
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
