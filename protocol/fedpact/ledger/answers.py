"""What a node answers, in a line that a person can read, and whatever web3 raises as one of our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eth_utils.exceptions import ValidationError
from web3.exceptions import Web3Exception

from fedpact.errors import FedpactError, LedgerError


def said(error: Exception) -> str:
    """What a node answered, in a line; the URL, which may hold a key, is never part of it."""
    if isinstance(error, OSError):
        status = getattr(getattr(error, "response", None), "status_code", None)
        return f"the node answers with HTTP status {status}" if status else f"no answer ({type(error).__name__})"
    response = getattr(error, "rpc_response", None)
    answer = response.get("error") if isinstance(response, dict) else None
    message = answer.get("message") if isinstance(answer, dict) else None
    line = " ".join(str(message or error).split())[:200]
    return "".join(each if each.isprintable() else "?" for each in line)  # A terminal obeys what it is sent.


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Translates whatever asking a node raises.

    Args:
        what: the thing that is asked about; the error begins with it.

    Raises:
        LedgerError: the node did not answer, refused to, or does not speak JSON-RPC.
    """
    try:
        yield
    except FedpactError:
        raise
    except (Web3Exception, ValidationError, OSError) as error:
        raise LedgerError(f"{what}: {said(error)}") from None
    except Exception as error:  # Whoever answered does not speak JSON-RPC, or speaks it badly, in whatever way.
        raise LedgerError(f"{what}: expected the answer of a node, found something else: {said(error)}") from None
