"""Compiles `contracts/` with py-solc-x into the artifact that the package ships.

    python scripts/compile_contracts.py            write protocol/fedpact/ledger/Federation.json
    python scripts/compile_contracts.py --check    compare with it, byte for byte, and exit 1 where it differs

The compiler is `--solc` or the variable FEDPACT_SOLC where given (any binary that py-solc-x can drive, `scripts/solcjs`
among them), and otherwise the version below, which py-solc-x installs from the Solidity project's site.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import requests
import solcx
from solcx.exceptions import SolcError, SolcInstallationError

VERSION = "0.8.37"
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("contracts/Federation.sol", "contracts/IFederation.sol")
ARTIFACT = ROOT / "protocol/fedpact/ledger/Federation.json"

# With neither metadata hash nor CBOR the code depends on nothing but what the sources mean. py-evm knows no opcodes
# newer than prague's. viaIR makes the code about a fifth smaller.
SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 200},
    "viaIR": True,
    "evmVersion": "prague",
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {
        "contracts/Federation.sol": {
            "Federation": [
                "abi",
                "evm.bytecode.object",
                "evm.deployedBytecode.object",
                "evm.deployedBytecode.immutableReferences",
                "storageLayout",
            ]
        }
    },
}


def standard_input() -> dict[str, Any]:
    """The compiler's standard-JSON input; it names no path outside the repository."""
    sources = {name: {"content": (ROOT / name).read_text("utf-8")} for name in SOURCES}
    return {"language": "Solidity", "sources": sources, "settings": SETTINGS}


def compile_artifact(solc: Path | None) -> str:
    """The artifact as text.

    Raises:
        SystemExit: there is no compiler, it is of another version, or it found an error or something to warn of.
    """
    if solc is None:
        try:
            solcx.install_solc(VERSION)
        except (requests.RequestException, SolcInstallationError) as error:
            sys.exit(f"compiler: solc {VERSION} cannot be installed ({type(error).__name__}); name one with --solc")
    given = standard_input()
    try:
        found = str(solcx.get_solc_version() if solc is None else solcx.wrapper.get_solc_version(solc))
        if solc is None:
            output = solcx.compile_standard(given, solc_version=VERSION)
        elif found != VERSION:
            sys.exit(f"compiler: expected solc {VERSION}, found {found} ({solc})")
        else:
            output = solcx.compile_standard(given, solc_binary=solc)
    except (SolcError, OSError) as error:
        sys.exit(f"compiler: {str(error).strip().splitlines()[0]}")
    if output.get("errors"):
        sys.exit("\n".join(each["formattedMessage"] for each in output["errors"]))
    contract = output["contracts"][SOURCES[0]]["Federation"]
    artifact = {
        "compiler": VERSION,
        "input_sha256": hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest(),
        "abi": contract["abi"],
        "creation": "0x" + contract["evm"]["bytecode"]["object"],
        "runtime": "0x" + contract["evm"]["deployedBytecode"]["object"],
        "immutables": contract["evm"]["deployedBytecode"].get("immutableReferences", {}),
        "storage": [
            {key: each[key] for key in ("label", "slot", "offset", "type")}
            for each in contract["storageLayout"]["storage"]
        ],
    }
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the shipped artifact, write nothing")
    parser.add_argument("--solc", type=Path, default=os.environ.get("FEDPACT_SOLC"), help="the compiler to use")
    arguments = parser.parse_args()
    text = compile_artifact(arguments.solc)
    if not arguments.check:
        partial = ARTIFACT.with_suffix(".partial")
        partial.write_text(text, "utf-8")
        partial.replace(ARTIFACT)
        print(f"wrote {ARTIFACT.relative_to(ROOT)}: {len(json.loads(text)['runtime']) // 2 - 1} bytes of code")
    elif not ARTIFACT.exists() or ARTIFACT.read_text("utf-8") != text:
        sys.exit(f"{ARTIFACT.relative_to(ROOT)} is not what the sources compile to: run scripts/compile_contracts.py")
    else:
        print(f"{ARTIFACT.relative_to(ROOT)} is what the sources compile to, byte for byte")


if __name__ == "__main__":
    main()
