"""The ledger and the store that the settings name, opened for a command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fedpact.settings import Settings

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3

    from fedpact.ledger.ethereum import EthereumLedger
    from fedpact.ledger.port import Follower
    from fedpact.store.several import SeveralBlocks


def connect(settings: Settings) -> Web3:
    """A connection to the nodes.

    Raises:
        InputError: none is named.
    """
    from fedpact.ledger import endpoints

    return endpoints.connect(settings.need("rpc"), chain_id=settings.chain_id)


def open_ledger(
    settings: Settings, accounts: Iterable[LocalAccount] = (), *, journal: Path | None = None
) -> EthereumLedger:
    """The federation's contract; its `close` ends the connection.

    Args:
        accounts: keys that may send.
        journal: the directory that keeps what they sent.

    Raises:
        InputError: no node or no contract is named.
        LedgerError: the node cannot be asked, is of another chain, or the contract is none of ours.
    """
    from fedpact.ledger.ethereum import EthereumLedger
    from fedpact.ledger.facts import Address
    from fedpact.ledger.fees import Fees

    contract = Address(settings.need("contract"))
    return EthereumLedger(
        connect(settings),
        contract,
        accounts,
        journal=journal,
        fees=Fees() if settings.max_fee is None else Fees(max_fee=settings.max_fee),
        confirmations=settings.confirmations or 0,
        first_block=settings.first_block,
    )


def open_follower(ledger: EthereumLedger) -> Follower:
    """Reads a ledger from its first entry: a command believes nothing that an earlier one kept."""
    from fedpact.ledger.port import Follower

    return Follower(ledger)


def open_blocks(settings: Settings, *, writable: bool = True) -> SeveralBlocks:
    """The stores as one; its `close` ends it.

    Raises:
        InputError: one is none that can be opened.
    """
    from fedpact.store.opening import open_store

    return open_store(settings.need("store"), writable=writable, write=settings.write)
