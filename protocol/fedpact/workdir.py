"""A federation in a directory: what a simulation leaves, and all that an audit of it needs.

DIR/store/              every artifact, by address
DIR/ledger.jsonl        every entry, with block and transaction
DIR/model.safetensors   the last published model
DIR/result.json         what the run reported of itself
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedpact.artifacts import canonical
from fedpact.audit import Audit, Finding, audit
from fedpact.errors import InputError, InvalidDocument, RecordDamaged, RecordInconsistent
from fedpact.ledger import record
from fedpact.ledger.facts import Hash
from fedpact.ledger.record import DRY_RUN, Record
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import address

STORE = "store"
LEDGER = "ledger.jsonl"
MODEL = "model.safetensors"
RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class DirectoryAudit:
    """An audit, and whether what was audited is a record at all (a dry run is none)."""

    audit: Audit
    is_record: bool


def audit_directory(directory: Path, *, trusted_head: Hash | None = None, threads: int = 1) -> DirectoryAudit:
    """Audits what a simulation left in a directory, from its files alone.

    Raises:
        InputError: it is no directory, or one without a ledger.
        RecordDamaged: the ledger cannot be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: not a directory")
    if not (directory / LEDGER).exists():
        raise InputError(f"{directory}: {describe(directory)}")
    try:
        read = record.read(directory / LEDGER)
    except RecordInconsistent as error:
        return DirectoryAudit(Audit(findings=[Finding(0, "record", "a whole record", str(error))]), True)
    blocks = DirectoryBlocks(directory / STORE)
    found = audit(read.identity, read.entries, blocks, trusted_head=trusted_head, threads=threads)
    _check_model(directory, found)
    _check_result(directory, found)
    return DirectoryAudit(found, read.kind != DRY_RUN)


def describe(directory: Path) -> str:
    """What a directory holds, in words, for someone who expected something else."""
    names = {path.name for path in directory.iterdir()}
    if not names:
        return "empty"
    try:
        read: Record | None = record.read(directory / LEDGER)
    except (RecordDamaged, RecordInconsistent):
        read = None
    rounds = sum(type(entry.event).__name__ == "RoundPublished" for entry in read.entries) if read else 0
    if RESULT in names and read:
        return f"holds a finished simulation of {rounds} rounds"
    if read:
        return f"holds a simulation that was cut off after round {rounds}; what is there can be audited"
    if LEDGER in names:
        return f"holds a ledger that cannot be read ({LEDGER})"
    if STORE in names:
        return f"holds a simulation that was cut off before its first round ended (a {STORE}, no {LEDGER})"
    return f"holds something else ({', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''}), and no {LEDGER}"


def _check_model(directory: Path, found: Audit) -> None:
    """The exported model must be the one published last; where a run was cut off, one that was published."""
    path = directory / MODEL
    if not found.rounds:
        return
    last = found.rounds[-1]
    cut_off = not (directory / RESULT).exists()
    try:
        derived = address(path.read_bytes())
    except FileNotFoundError:
        if not cut_off:
            found.unchecked.append(f"{MODEL}: missing")
        return
    except OSError as error:
        found.unchecked.append(f"{MODEL}: {error.strerror}")
        return
    if derived != last.model and not (cut_off and derived in {each.model for each in found.rounds}):
        found.findings.append(Finding(last.number, MODEL, str(last.model), str(derived)))


def _check_result(directory: Path, found: Audit) -> None:
    """The report must not claim another model or head; a run that was cut off has none."""
    path = directory / RESULT
    if not path.exists() or not found.rounds:
        return
    try:
        said = canonical.parse(path.read_bytes(), RESULT)
        model, head = str(said["model"]), str(said["head"])
    except (OSError, InvalidDocument, TypeError, KeyError):
        found.findings.append(Finding(0, RESULT, "a report of the run", "something that cannot be read"))
        return
    for name, claimed, derived in (
        ("model", model, str(found.rounds[-1].model)),
        ("head", head, "0x" + found.head.hex()),
    ):
        if claimed != derived:
            found.findings.append(Finding(0, f"{RESULT}, {name}", derived, claimed))
