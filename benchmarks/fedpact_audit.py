"""Measurements of audits for `aggregation.py`: the record of a federation that nobody trained, and audits of it.

The record is what contract and coordinator would leave: a ledger in memory with the contract's rules, and a directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from fedpact.artifacts.charter import Charter
from fedpact.audit import Scope, Verdict
from fedpact.derivation import derive
from fedpact.ledger import record
from fedpact.ledger.actions import Admit, Appoint, OpenRound, Publish, Submit
from fedpact.ledger.facts import NO_TERMS, Identity, RoundNumber, Update, address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor
from fedpact.ledger.record import Record
from fedpact.rules.engine import aggregate
from fedpact.store.blocks import Discard
from fedpact.store.cid import Cid
from fedpact.store.directory import DirectoryBlocks
from fedpact.store.unixfs import add, add_leaf, open_file
from fedpact.workdir import LEDGER, STORE, audit_directory
from measuring import measure

Task = Mapping[str, Any]

OWNER, COORDINATOR, CONTRACT = (address(f"0x{number:040x}") for number in (1, 2, 3))
START = 4_102_444_800


def recording(task: Task) -> dict[str, Any]:
    """Writes the record of rounds whose updates are in the store, and the models that follow from them."""
    directory = Path(task["directory"])
    blocks = DirectoryBlocks(directory / STORE, sync=False)
    charter = charter_of(task)
    size = charter.layout().size
    members = [address(f"0x{1000 + place:040x}") for place in range(task["count"])]
    ledger = MemoryLedger(
        OWNER,
        add(blocks, charter.encode()).root,
        Cid.parse(task["rounds"][0][0]),
        charter.contract_limits(),
        identity=Identity(31337, CONTRACT),
        now=START,
    )
    ledger.send(OWNER, Admit(tuple(members)))
    ledger.send(OWNER, Appoint(COORDINATOR))
    for number, roots in enumerate(task["rounds"], 1):
        ledger.send(COORDINATOR, OpenRound(RoundNumber(number), charter.terms(ledger.now())))
        current = ledger.view.rounds[number]
        for member, root, samples in zip(members, roots, task["samples"], strict=True):
            ledger.send(member, Submit(current.number, Update(Cid.parse(root), samples, 0, size)))
        ledger.advance(current.terms.submit_by + 1)
        derived = derive(current, charter, blocks, into=blocks, threads=task["threads"])
        if derived.model is None:
            raise RuntimeError(f"round {number}: no model")
        manifest = add(blocks, derived.manifest.encode()).root
        ledger.send(COORDINATOR, Publish(current.number, current.transcript, derived.model.root, manifest, NO_TERMS))
    entries = ledger.read(Cursor()).entries
    record.write(directory / LEDGER, Record(ledger.identity, "benchmark", tuple(entries)))
    return {}


def making(task: Task) -> dict[str, Any]:
    """The engine alone: the models of all rounds, from verified bytes in the store to nowhere."""
    charter = charter_of(task)
    layout, rule = charter.layout(), charter.make_rule()
    blocks = DirectoryBlocks(Path(task["directory"]) / STORE)

    def work(_: None) -> None:
        for roots in task["rounds"]:
            files = [open_file(blocks, Cid.parse(root), layout.size) for root in roots]
            outcome = aggregate(
                layout,
                rule,
                files,
                task["samples"],
                keep=lambda _, leaf: add_leaf(Discard(), leaf),
                threads=task["threads"],
            )
            if not outcome.leaves:
                raise RuntimeError(f"no model: {outcome.faults or outcome.missing}")

    return measure(lambda: None, work).as_json()


def auditing(task: Task) -> dict[str, Any]:
    """A full audit, then one of a share of the blocks."""
    directory = Path(task["directory"])
    numbers = iter(range(1 << 32))

    def work(scope: Scope) -> None:
        found = audit_directory(directory, scope=scope, threads=task["threads"]).audit
        expected = Verdict.REPRODUCED if scope.share is None else Verdict.SAMPLED
        if found.verdict is not expected or len(found.rounds) != len(task["rounds"]):
            raise RuntimeError(f"audit: expected {expected.value}, found {found.all_findings or found.all_unchecked}")

    full = measure(Scope, work).as_json()
    sample = measure(lambda: Scope(share=Decimal(task["share_drawn"]), seed=next(numbers)), work).as_json()
    return {**full, "sample": sample["seconds"]}


def charter_of(task: Task) -> Charter:
    """The charter of a rule and so many elements."""
    return Charter.model_validate(
        {
            "format": "fedpact-charter/1",
            "name": "benchmark",
            "model": {"weights": {"dtype": "F32", "shape": [task["elements"]]}},
            "trainer": {"name": "none"},
            "score": "accuracy",
            "rule": {"name": task["rule"], "parameters": task["parameters"]},
            "rounds": {"quorum": task["count"], "submission_seconds": 100, "publication_seconds": 100},
            "limits": {"max_samples": 1_000_000},
            "stop": {"rounds": 1_000_000},
        }
    )
