"""Who may read from a block server: accounts that the ledger knows, each by a token that it signed.

    Authorization: Fedpact address=0x…, expires=1763737200, origin="https://silo.example", signature=0x…

A token is signed as EIP-712 says, by the key that acts on the ledger. It names the server (its origin, as the reader
asks it) and the federation (chain and contract), and ends after some minutes; within these it is good for any block.
So a server that is shown one cannot show it to another, and what leaks is worth little: reading, there, until then.
Nothing here reads the ledger: `fedpact.ledger.roll` knows the accounts.

Sources: https://eips.ethereum.org/EIPS/eip-712, https://www.rfc-editor.org/rfc/rfc9110#section-11.4
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from coincurve import PublicKey

from fedpact.errors import InputError
from fedpact.ledger.facts import Address, Identity, address
from fedpact.ledger.keccak import keccak

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

SCHEME = "Fedpact"
"""The authentication scheme, as HTTP calls it."""
LIFETIME = 300
"""Seconds that a token is good for when it is made."""
LONGEST = 600
"""Seconds until a token's end at most. What it has beyond `LIFETIME` is for readers whose clock is fast."""
TOLERANCE = 60
"""Seconds after its end in which a token is still good, for readers whose clock is slow."""
_TOKENS = 4096
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # Of secp256k1.
_NAME, _VERSION = "fedpact store", "1"
_TYPES = {"Read": [{"name": "origin", "type": "string"}, {"name": "expires", "type": "uint64"}]}
_READ = keccak(b"Read(string origin,uint64 expires)")
_DOMAIN = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_ORIGIN = re.compile(r"https?://[a-z0-9._:\[\]-]{1,260}")
_TOKEN = re.compile(
    rf"(?i:{SCHEME}) address=(0x[0-9a-f]{{40}}), expires=([0-9]{{1,15}}), "
    rf'origin="({_ORIGIN.pattern})", signature=0x([0-9a-f]{{130}})',
    re.ASCII,
)


def origin_of(url: str) -> str:
    """The scheme, host and port of a URL, in the one form that both sides sign.

    Raises:
        InputError: it is none of HTTP, its host is not written in ASCII, or it has more than a path behind that.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        parts, port, host = urlsplit(""), None, ""
    shown = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, _PORTS.get(parts.scheme)) else "")
    if not host or port == 0 or parts.username is not None or parts.query or not _ORIGIN.fullmatch(origin):
        raise InputError("URL: expected http://host:port or https://host, in ASCII; found otherwise")
    return origin


_PORTS = {"http": 80, "https": 443}


class Reader:
    """Signs what an account asks of block servers. Threads may share one.

    Args:
        account: with the key that the ledger knows.
        identity: the federation that it reads as a part of.
        now: the time, in seconds since the epoch.
    """

    def __init__(self, account: LocalAccount, identity: Identity, *, now: Callable[[], float] = time.time) -> None:
        self._account, self._identity, self._now = account, identity, now
        self._tokens: dict[str, tuple[int, str]] = {}  # By origin: when it expires, and the token.
        self._lock = threading.Lock()

    def token(self, origin: str) -> str:
        """A token for a server, which is signed anew when half of its time is over."""
        now = int(self._now())
        with self._lock:
            expires, token = self._tokens.get(origin, (0, ""))
            if not LIFETIME // 2 <= expires - now <= LIFETIME:
                expires = now + LIFETIME
                token = sign(self._account, self._identity, origin, expires)
                self._tokens[origin] = expires, token
            return token


def sign(account: LocalAccount, identity: Identity, origin: str, expires: int) -> str:
    """A token: the value of the header `Authorization`.

    Args:
        origin: as `origin_of` gives it.
        expires: when it ends, in seconds since the epoch.
    """
    domain = {
        "name": _NAME,
        "version": _VERSION,
        "chainId": identity.chain_id,
        "verifyingContract": identity.contract,
    }
    signed: Any = account.sign_typed_data(domain, _TYPES, {"origin": origin, "expires": expires})
    signature = bytes(signed.signature).hex()
    return f'{SCHEME} address={address(account.address)}, expires={expires}, origin="{origin}", signature=0x{signature}'


def account_in(token: str) -> Address | None:
    """The account that a token names, whether it signed it or not; none where it is no token."""
    found = _TOKEN.fullmatch(token)
    return None if found is None else Address(found[1])


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered.

    Attributes:
        status: of HTTP.
        why: one line of printable ASCII, without quotes.
    """

    status: int
    why: str


class Door:
    """Lets those in whom the ledger knows. A token's signature is checked once, its account each time.

    Args:
        identity: the federation.
        origins: what others ask this server by, as `origin_of` gives it. What a request says of that (Host) counts for
            nothing: whoever passes on another's token would say it.
        accounts: who may read now; none where nobody knows.
        now: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        identity: Identity,
        origins: Collection[str],
        accounts: Callable[[], frozenset[Address] | None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._identity, self._origins, self._accounts, self._now = identity, tuple(origins), accounts, now
        self._domain = _separator(identity)
        self._known: dict[str, None] = {}  # Tokens whose signature is right, the oldest first.

    def refusal(self, token: str | None) -> Refusal | None:
        """Why a request is not answered; none where it is.

        Args:
            token: the value of the header `Authorization`; none where there is none.
        """
        if token is None:
            return Refusal(401, "not signed: this store is for members, who read it as member+http://...")
        found = _TOKEN.fullmatch(token)
        if found is None:
            return Refusal(401, f"expected a token of the scheme {SCHEME}, found something else")
        account, expires, origin, signature = found.groups()
        if origin not in self._origins:
            return Refusal(401, f"for another server: expected {' or '.join(self._origins)}, found {origin}")
        left = int(expires) - int(self._now())
        if left < -TOLERANCE:
            return Refusal(401, f"expired {-left} s ago: check the clock")
        if left > LONGEST:
            return Refusal(401, f"expires in {left} s, expected at most {LONGEST} s: check the clock")
        accounts = self._accounts()
        if accounts is None:
            return Refusal(503, "who is a member is not known: the ledger has not answered for too long")
        if account not in accounts:
            return Refusal(401, f"not a member: {account}")
        if token not in self._known:
            if _signer(self._digest(origin, int(expires)), bytes.fromhex(signature)) != account:
                named = f"chain {self._identity.chain_id}, contract {self._identity.contract}"
                return Refusal(401, f"not signed by {account} for the federation of this store: {named}")
            if len(self._known) >= _TOKENS:
                del self._known[next(iter(self._known))]
            self._known[token] = None
        return None

    def _digest(self, origin: str, expires: int) -> bytes:
        return keccak(b"\x19\x01" + self._domain + keccak(_READ + keccak(origin.encode()) + expires.to_bytes(32)))


def _separator(identity: Identity) -> bytes:
    contract = bytes.fromhex(identity.contract[2:])
    words = (
        keccak(_NAME.encode()) + keccak(_VERSION.encode()) + identity.chain_id.to_bytes(32) + contract.rjust(32, b"\0")
    )
    return keccak(_DOMAIN + words)


def _signer(digest: bytes, signature: bytes) -> Address | None:
    """Who signed a digest; none where nobody did, or where it is the second of the two forms of a signature."""
    recovery = signature[64] - 27
    if recovery not in (0, 1) or int.from_bytes(signature[32:64]) > _ORDER // 2:
        return None
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes([recovery]), digest, hasher=None)
    except Exception:  # coincurve names no class: bytes that are no point of the curve.
        return None
    return address("0x" + keccak(key.format(compressed=False)[1:])[12:].hex())
