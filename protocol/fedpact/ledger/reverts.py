"""Trying an action on a node, and why it would be refused.

Nodes say in different ways what a contract reverted with: most give the bytes in hexadecimal, eth-tester a text that
holds their Python form.
"""

from __future__ import annotations

import ast
import re
import sys

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import BlockIdentifier, TxParams

from fedpact.errors import LedgerError
from fedpact.ledger.abi import Abi
from fedpact.ledger.answers import asking, said

_REVERT_BYTES = re.compile(r"b(['\"]).*\1", re.DOTALL)


def failures() -> tuple[type[Exception], ...]:
    """What is raised for a call that fails.

    eth-tester raises its own error for a revert. Whoever has a chain of it has imported it; whoever has not is spared
    that, as it takes half a second.
    """
    tester = sys.modules.get("eth_tester.exceptions")
    return (Web3Exception,) if tester is None else (Web3Exception, tester.TransactionFailed)


def try_out(web3: Web3, abi: Abi, transaction: TxParams, block: BlockIdentifier = "pending") -> None:
    """Asks a node what an action would do.

    Raises:
        ContractRejected: it would be refused.
        LedgerError: the node says that it would fail, but not why, or it does not answer.
    """
    with asking("the transaction cannot be tried"):
        try:
            web3.eth.call(transaction, block)
        except failures() as error:
            rejection = abi.error(revert_data(error))
            raise rejection or LedgerError(f"the transaction would fail: {said(error)}") from None


def revert_data(error: Exception) -> bytes:
    """The bytes that a contract reverted with, however a node says them; none where it says nothing of the kind."""
    data = getattr(error, "data", None)
    try:
        if isinstance(data, str) and data.startswith("0x"):
            return bytes.fromhex(data[2:])
        found = _REVERT_BYTES.search(str(error)) if type(error).__module__ == "eth_tester.exceptions" else None
        literal = ast.literal_eval(found.group()) if found else b""  # eth-tester gives the repr of the bytes.
    except (ValueError, SyntaxError):
        return b""
    return literal if isinstance(literal, bytes) else b""
