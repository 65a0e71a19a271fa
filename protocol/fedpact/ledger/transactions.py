"""One transaction: signing it, giving it to a node, waiting for its receipt. Nothing is remembered here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils.exceptions import ValidationError
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import TxParams, TxReceipt

from fedpact.errors import LedgerError
from fedpact.ledger.answers import asking, said
from fedpact.ledger.facts import Address, Hash, address
from fedpact.ledger.fees import Offer

_RECEIPT_SECONDS = 60.0


class NotTaken(LedgerError):
    """A transaction that the node refused to take."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction asks of a contract: two that ask the same are one intention.

    Attributes:
        gas: its limit.
    """

    to: Address
    data: bytes
    gas: int

    def asked_by(self, sender: Address) -> TxParams:
        """As a node may be asked what it would do."""
        return {
            "from": Web3.to_checksum_address(sender),
            "to": Web3.to_checksum_address(self.to),
            "data": HexBytes(self.data),
            "gas": self.gas,
        }


@dataclass(frozen=True, slots=True)
class Variant:
    """One signed form of a transaction; its siblings offer other fees.

    Attributes:
        hash: by which nodes know it.
        raw: its bytes as they are sent.
    """

    hash: Hash
    raw: bytes
    offer: Offer


def sign(account: LocalAccount, asked: TxParams, nonce: int, chain_id: int, offer: Offer) -> Variant:
    """Signs a transaction that carries no money."""
    fees = {"maxFeePerGas": offer.max_fee, "maxPriorityFeePerGas": offer.tip}
    filled: dict[str, Any] = {**asked, **fees, "nonce": nonce, "chainId": chain_id, "type": 2, "value": 0}
    signed = account.sign_transaction(filled)
    return Variant(Hash(bytes(signed.hash)), bytes(signed.raw_transaction), offer)


def send(web3: Web3, sender: Address, raw: bytes) -> None:
    """Gives a transaction to a node.

    Raises:
        NotTaken: the node refused it.
        LedgerError: whether it was taken is not known.
    """
    with asking(f"transaction of {sender}"):
        try:
            web3.eth.send_raw_transaction(raw)
        except OSError:
            raise
        except (Web3Exception, ValidationError) as error:
            raise NotTaken(f"transaction of {sender}: {said(error)}") from None


def wait(web3: Web3, transaction: Hash) -> TxReceipt:
    """Waits for the receipt of a transaction.

    Raises:
        LedgerError: there is none after a minute, or the node does not answer.
    """
    with asking(f"transaction 0x{transaction.hex()}"):
        return web3.eth.wait_for_transaction_receipt(HexBytes(transaction), timeout=_RECEIPT_SECONDS, poll_latency=0.05)


def check_balance(web3: Web3, account: LocalAccount, gas: int, max_fee: int) -> None:
    """Checks that an account has what a node wants to see before it takes a transaction; what is not used is not paid.

    Raises:
        LedgerError: it has less.
    """
    who = address(account.address)
    with asking(f"balance of {who}"):
        needed, found = gas * max_fee, web3.eth.get_balance(account.address)
    if found < needed:
        raise LedgerError(
            f"balance of {who}: expected at least {ether(needed)} ether, found {ether(found)} ether: send it more"
        )


def ether(wei: int) -> str:
    """An amount in ether, exactly."""
    whole, rest = divmod(wei, 10**18)
    return f"{whole}.{rest:018}".rstrip("0").removesuffix(".")
