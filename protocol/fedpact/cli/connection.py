"""The ledger and the store that the settings name, opened for a command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fedpact.errors import FedpactError, InputError, LedgerError
from fedpact.settings import Settings, shown_url

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3

    from fedpact.ledger.ethereum import EthereumLedger
    from fedpact.ledger.port import Follower
    from fedpact.store.directory import DirectoryBlocks


def connect(settings: Settings) -> Web3:
    """A connection to the nodes.

    Raises:
        InputError: none is named.
        LedgerError: they cannot be asked, or are of another chain than the settings say.
    """
    from fedpact.deployment import deploy

    web3 = deploy.connect(settings.need("rpc")[0])
    if settings.chain_id is not None:
        with asking_node():
            found = web3.eth.chain_id
        if found != settings.chain_id:
            raise LedgerError(f"chain: expected {settings.chain_id} ({settings.origin['chain_id']}), found {found}")
    return web3


def open_ledger(settings: Settings, accounts: Iterable[LocalAccount] = ()) -> EthereumLedger:
    """The federation's contract.

    Args:
        accounts: keys that may send.

    Raises:
        InputError: no node or no contract is named.
        LedgerError: the node cannot be asked, is of another chain, or the contract is none of ours.
    """
    from fedpact.ledger.ethereum import EthereumLedger
    from fedpact.ledger.facts import Address

    contract = Address(settings.need("contract"))
    web3 = connect(settings)
    with asking_node():
        return EthereumLedger(web3, contract, accounts)


def follow(ledger: EthereumLedger) -> Follower:
    """Everything that is on the ledger now.

    Raises:
        LedgerError: it cannot be read, or its entries contradict one another.
    """
    from fedpact.ledger.port import Follower

    with asking_node():
        follower = Follower(ledger)
        follower.refresh()
    return follower


@contextmanager
def asking_node() -> Iterator[None]:
    """Turns whatever goes wrong between us and a node into one line.

    Raises:
        LedgerError: something did.
    """
    from eth_utils.exceptions import ValidationError
    from web3.exceptions import Web3Exception

    from fedpact.ledger.ethereum import said

    try:
        yield
    except FedpactError:
        raise
    except (Web3Exception, ValidationError, OSError) as error:
        raise LedgerError(f"rpc: {said(error)}") from None
    except Exception as error:  # Whoever answered does not speak JSON-RPC, or speaks it badly, in whatever way.
        raise LedgerError(f"rpc: expected the answer of a node, found something else: {said(error)}") from None


def open_store(settings: Settings) -> DirectoryBlocks:
    """The store.

    Raises:
        InputError: it is none that can be opened.
    """
    from fedpact.store.directory import DirectoryBlocks

    place = settings.need("store")[0]
    if "://" in place:
        raise InputError(f"store: expected a directory, found {shown_url(place)} ({settings.origin['store']})")
    return DirectoryBlocks(Path(place))
