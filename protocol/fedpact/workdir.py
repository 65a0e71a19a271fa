"""A federation in a directory: what a simulation leaves, or `fedpact record --output`, and all that an audit needs.

DIR/store/              every artifact, by address
DIR/ledger.jsonl        every entry, with block and transaction
DIR/model.safetensors   the last published model
DIR/result.json         what the run reported of itself; not where the record is of a chain
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fedpact.artifacts import canonical
from fedpact.audit import Audit, Audited, Finding, Scope, audit
from fedpact.audit.walk import Memory
from fedpact.errors import InputError, InvalidDocument, RecordDamaged, RecordInconsistent
from fedpact.ledger import record
from fedpact.ledger.facts import Hash
from fedpact.ledger.record import CHAIN, DRY_RUN, Record
from fedpact.store.blocks import Blocks
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import LEAF, build
from fedpact.suggestion import did_you_mean

STORE = "store"
LEDGER = "ledger.jsonl"
GENESIS = "genesis.safetensors"
MODEL = "model.safetensors"
RESULT = "result.json"
MAX_RESULT = 1 << 28


def audit_directory(
    directory: Path,
    *,
    trusted_head: Hash | None = None,
    scope: Scope | None = None,
    threads: int = 1,
    jobs: int = 1,
    memory: Memory | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    read: Record | None = None,
    blocks: Blocks | None = None,
) -> Audited:
    """Audits what a simulation left in a directory, from its files alone. Arguments as `fedpact.audit.audit`.

    Args:
        read: the directory's record, where it was read already.
        blocks: where the artifacts are, if not in the directory's own store.

    Raises:
        InputError: it is no directory, or one without a ledger; and as `fedpact.audit.audit`.
        RecordDamaged: the ledger cannot be read.
        StoreError: the memory cannot be kept.
    """
    scope = scope or Scope()
    try:
        read = read or read_record(directory)
    except RecordInconsistent as error:
        broken = Audit(scope, findings=[Finding(0, "record", "entries without a gap", str(error))])
        identity = record.read_identity(directory / LEDGER)
        return Audited(broken, identity, True, (directory / RESULT).exists())
    found = audit(
        read.identity,
        read.entries,
        DirectoryBlocks(directory / STORE) if blocks is None else blocks,
        trusted_head=trusted_head,
        scope=scope,
        threads=threads,
        jobs=jobs,
        memory=memory,
        progress=progress,
    )
    _check_model(directory, found)
    _check_result(directory, found)
    finished = read.kind == CHAIN or (directory / RESULT).exists()  # A chain has no end to report.
    return Audited(found, read.identity, is_record(read), finished)


def read_record(directory: Path) -> Record:
    """The record that a simulation left in a directory.

    Raises:
        InputError: it is no directory, or one without a ledger.
        RecordDamaged: the ledger cannot be read.
        RecordInconsistent: entries are missing, repeated or out of order.
    """
    try:
        if not directory.is_dir():
            near = did_you_mean(directory.name, sorted(path.name for path in directory.parent.glob("*/")))
            raise InputError(f"{directory}: expected a directory that a simulation left, found none{near}")
    except OSError as error:  # A name that is too long, and the like.
        raise InputError(f"{str(directory)[:80]}: {error.strerror}") from None
    if not (directory / LEDGER).exists():
        raise InputError(f"{directory}: {describe(directory)}; expected a directory that a simulation left")
    return record.read(directory / LEDGER)


def is_record(read: Record) -> bool:
    """Whether it is a record at all; a dry run within one process is none."""
    return read.kind != DRY_RUN and read.identity.chain_id != 0


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
    published = [str(each.model) for each in found.published]
    cut_off = not (directory / RESULT).exists()
    if not path.exists():
        if published and not cut_off:
            found.unchecked.append(f"{MODEL}: missing")
        return
    try:
        derived = str(address_of(path))
    except OSError as error:
        found.unchecked.append(f"{MODEL}: {error.strerror}")
        return
    if derived not in (published if cut_off else published[-1:]):
        number, last = (found.published[-1].number, published[-1]) if published else (0, "no model")
        found.findings.append(Finding(number, MODEL, last, derived))


def _check_result(directory: Path, found: Audit) -> None:
    """The report must not claim another model or head; a run that was cut off has none."""
    path = directory / RESULT
    if not path.exists():
        return
    try:
        if not path.is_file() or path.stat().st_size > MAX_RESULT:
            raise InvalidDocument(f"{RESULT}: not a file of at most {MAX_RESULT} bytes")
        said = canonical.parse(path.read_bytes(), RESULT)
        claims = {"model": said["model"], "head": said["head"]}
    except (OSError, InvalidDocument, TypeError, KeyError):
        found.findings.append(Finding(0, RESULT, "a report of the run", "something that cannot be read"))
        return
    derived = {"model": str(found.published[-1].model) if found.published else None, "head": "0x" + found.head.hex()}
    for name, claimed in claims.items():
        if claimed != derived[name]:
            found.findings.append(Finding(0, f"{RESULT}, {name}", str(derived[name]), str(claimed)[:200]))


def address_of(path: Path) -> Cid:
    """The address of a file, read piece by piece.

    Raises:
        OSError: it cannot be read, is no file, or has grown or shrunk meanwhile.
    """
    if not path.is_file():
        raise OSError(0, "not a file")
    leaves: list[Cid] = []
    size = 0
    with path.open("rb") as file:
        expected = os.fstat(file.fileno()).st_size
        while size <= expected and ((piece := file.read(LEAF)) or not leaves):
            leaves.append(Cid.of(piece))
            size += len(piece)
    if size != expected:
        raise OSError(0, f"expected {expected} bytes, found {'more' if size > expected else size}")
    return build(leaves, size).root
