"""What a federation is founded with, as people write it: `federation.toml`.

charter = "charter.toml"            # the rules, a file beside this one
genesis = "zeros"                   # the first model: a safetensors file, or "zeros"
owner = "0x…"                       # optional: who decides who may act; else whoever deploys
members = ["0x…", "0x…"]
coordinators = ["0x…"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fedpact.artifacts.charter import Charter, parse_toml
from fedpact.artifacts.mistakes import read_toml
from fedpact.artifacts.weights import Layout
from fedpact.errors import CharterError, InputError, InvalidWeights, LedgerError
from fedpact.ledger.facts import Address, typed_address

ZEROS = "zeros"
MAX_MEMBERS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Plan:
    """What to found.

    Attributes:
        genesis: the bytes of the first model, in the charter's layout.
        owner: who decides who may act; whoever deploys where none is given.
    """

    charter: Charter
    genesis: bytes
    owner: Address | None
    members: tuple[Address, ...]
    coordinators: tuple[Address, ...]


def _account(text: str) -> str:
    try:
        return typed_address(text)
    except LedgerError as error:
        raise ValueError(str(error)) from None


def _once(accounts: list[str]) -> list[str]:
    seen = set()
    for account in accounts:
        if account in seen:
            raise ValueError(f"expected each address once, found {account} twice")
        seen.add(account)
    return accounts


_Account = Annotated[str, AfterValidator(_account)]


class FederationFile(BaseModel):
    """What a federation is founded with, as people write it.

    Attributes:
        charter: the file of the charter, relative to this one.
        genesis: the first model: a file of weights, relative to this one, or `zeros` for models without a hidden layer.
        owner: the account that may admit, appoint, amend and rewind. Without it whoever deploys.
        members: the accounts of the silos, each once. More can be admitted later.
        coordinators: the accounts that may open and publish rounds, each once. More can be appointed later.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    charter: str
    genesis: str
    owner: _Account | None = None
    members: Annotated[list[_Account], Field(max_length=MAX_MEMBERS), AfterValidator(_once)] = []
    coordinators: Annotated[list[_Account], Field(max_length=MAX_MEMBERS), AfterValidator(_once)] = []


def read_plan(path: Path) -> Plan:
    """Reads a federation's file, and the charter and model that it names.

    Raises:
        InputError: one of them cannot be read, or is not what it should be.
    """
    file = read_toml(path, FederationFile)
    try:
        charter = parse_toml(path.parent / file.charter)
        genesis = read_genesis(path.parent, file.genesis, charter.layout())
    except CharterError as error:
        raise InputError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: genesis: {error}") from None
    owner = None if file.owner is None else Address(file.owner)
    return Plan(charter, genesis, owner, _addresses(file.members), _addresses(file.coordinators))


def _addresses(texts: Sequence[str]) -> tuple[Address, ...]:
    return tuple(map(Address, texts))


def read_genesis(directory: Path, name: str, layout: Layout) -> bytes:
    """The bytes of a first model: a file's, or those of zeros.

    Args:
        name: relative to the directory; or `ZEROS`.

    Raises:
        InputError: it cannot be read, or is no model of this layout.
    """
    try:
        if name == ZEROS:
            return layout.header + bytes(layout.size - len(layout.header))
        path = directory / name
        if not path.is_file():
            raise InputError(f"expected a file or {ZEROS!r}, found nothing at {path}")
        if path.stat().st_size != layout.size:
            raise InputError(f"{path}: expected {layout.size} bytes, found {path.stat().st_size}")
        data = path.read_bytes()
        for tensor, values in layout.decode(data).items():
            lost = np.argwhere(~np.isfinite(values))
            if len(lost):
                where = ", ".join(map(str, lost[0]))
                raise InputError(f"{path}: expected finite values, found {values[tuple(lost[0])]} at {tensor}[{where}]")
    except InvalidWeights as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError:  # A path that no system has.
        raise InputError(f"expected a file or {ZEROS!r}, found {name[:80]!r}") from None
    except MemoryError:
        raise InputError(f"a model of {layout.size} bytes is more than this machine can hold") from None
    return data
