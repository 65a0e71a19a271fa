"""Trying an action on a node, and why it would be refused.

Nodes say in different ways what a contract reverted with: most give the bytes in hexadecimal, eth-tester a text that
holds their Python form.
"""

from __future__ import annotations

import ast
import re

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import BlockIdentifier, TxParams

from fedpact.errors import LedgerError
from fedpact.ledger.abi import Abi
from fedpact.ledger.answers import asking, said

try:
    # eth-tester raises its own error for a revert. It comes with web3's extra and may be absent elsewhere.
    from eth_tester.exceptions import TransactionFailed
except ImportError:  # pragma: no cover
    TransactionFailed = Web3Exception

FAILURES = (Web3Exception, TransactionFailed)
"""What is raised for a call that fails."""
_REVERT_BYTES = re.compile(r"b(['\"]).*\1", re.DOTALL)


def try_out(web3: Web3, abi: Abi, transaction: TxParams, block: BlockIdentifier = "pending") -> None:
    """Asks a node what an action would do.

    Raises:
        ContractRejected: it would be refused.
        LedgerError: the node says that it would fail, but not why, or it does not answer.
    """
    with asking("the transaction cannot be tried"):
        try:
            web3.eth.call(transaction, block)
        except FAILURES as error:
            rejection = abi.error(revert_data(error))
            raise rejection or LedgerError(f"the transaction would fail: {said(error)}") from None


def revert_data(error: Exception) -> bytes:
    """The bytes that a contract reverted with, however a node says them; none where it says nothing of the kind."""
    data = getattr(error, "data", None)
    try:
        if isinstance(data, str) and data.startswith("0x"):
            return bytes.fromhex(data[2:])
        found = _REVERT_BYTES.search(str(error)) if isinstance(error, TransactionFailed) else None
        literal = ast.literal_eval(found.group()) if found else b""  # eth-tester gives the repr of the bytes.
    except (ValueError, SyntaxError):
        return b""
    return literal if isinstance(literal, bytes) else b""
