"""The compiled contract, as the package ships it: `scripts/compile_contracts.py` makes it, byte for byte."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

ARTIFACT = "Federation.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What the compiler made of `contracts/Federation.sol`.

    Attributes:
        abi: the contract's interface.
        creation: the code that a deployment sends, before its arguments.
        runtime: the code that the chain keeps.
        compiler: version of the compiler.
        input_sha256: hash of the standard-JSON input that it was given.
    """

    abi: list[dict[str, Any]]
    creation: bytes
    runtime: bytes
    compiler: str
    input_sha256: str


@functools.cache
def federation() -> Artifact:
    """The artifact of the contract `Federation`."""
    raw = json.loads((resources.files(__package__) / ARTIFACT).read_bytes())
    return Artifact(
        raw["abi"],
        bytes.fromhex(raw["creation"][2:]),
        bytes.fromhex(raw["runtime"][2:]),
        raw["compiler"],
        raw["input_sha256"],
    )
