"""Records of any history in a directory, as a simulation leaves them, but without training."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from chains import COORDINATOR, MEMBERS, OWNER, START
from charters import small_charter
from fedpact.artifacts.dtypes import DTYPES
from fedpact.artifacts.manifest import Manifest
from fedpact.derivation import Derivation, derive
from fedpact.ledger import record
from fedpact.ledger.actions import Admit, Appoint, CancelRound, OpenRound, Publish, Rewind, Submit
from fedpact.ledger.facts import NO_TERMS, Identity, RoundNumber, Update, address
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor
from fedpact.ledger.record import Record
from fedpact.ledger.view import Round, View
from fedpact.store import Cid, DirectoryBlocks
from fedpact.store.unixfs import add
from fedpact.workdir import LEDGER, STORE

IDENTITY = Identity(31337, address("0x" + "12" * 20))

Forge = Callable[[Cid, Manifest], tuple[Cid, Manifest]]
"""From the model and the manifest that follow from a round's updates to those that are published."""


class History:
    """A federation of four members, kept in a directory. `save` writes the record.

    Args:
        elements: how many the model has; each takes four bytes.
    """

    def __init__(self, directory: Path, *, elements: int = 3, identity: Identity = IDENTITY, **changes: Any) -> None:
        model = {"weight": {"dtype": "F32", "shape": [elements]}}
        self.charter = small_charter(**({"model": model, "stop": {"rounds": 10**6}} | changes))
        self.layout = self.charter.layout()
        self.directory = directory
        self.blocks = DirectoryBlocks(directory / STORE, sync=False)
        genesis = add(self.blocks, self.weights(0.0)).root
        charter = add(self.blocks, self.charter.encode()).root
        limits = self.charter.contract_limits()
        self.ledger = MemoryLedger(OWNER, charter, genesis, limits, identity=identity, now=START)
        self.ledger.send(OWNER, Admit(tuple(MEMBERS)))
        self.ledger.send(OWNER, Appoint(COORDINATOR))
        self._manifests: dict[object, tuple[Cid, Manifest]] = {}

    def copied(self, directory: Path) -> History:
        """The same so far, in another directory; what is done with one does not show in the other."""
        assert type(self) is History  # Others have more that would have to be copied.
        shutil.copytree(self.directory, directory)
        other = copy.copy(self)
        other.directory = directory
        other.blocks = DirectoryBlocks(directory / STORE, sync=False)
        other.ledger = copy.deepcopy(self.ledger)
        other._manifests = dict(self._manifests)
        return other

    @property
    def view(self) -> View:
        """What the record folds to."""
        return self.ledger.view

    def weights(self, value: float) -> bytes:
        """An update of one value."""
        tensors = self.layout.tensors
        return self.layout.encode({each.name: np.full(each.shape, value, DTYPES[each.dtype].array) for each in tensors})

    def open(self) -> Round:
        """Opens a round."""
        number = RoundNumber(self.view.number + 1)
        self.ledger.send(COORDINATOR, OpenRound(number, self.charter.terms(self.ledger.now())))
        return self.view.rounds[number]

    def publish(self, *updates: float | bytes, forge: Forge | None = None) -> Round:
        """A round with these updates, from open to published; a number stands for an update of one value.

        Args:
            forge: makes what is published of what should be.
        """
        current = self.open()
        self.submit(current, *updates)
        model, manifest = self._published(current, updates)
        self.close(current, *((model, manifest) if forge is None else forge(model, manifest)))
        return current

    def submit(self, current: Round, *updates: float | bytes) -> None:
        """All submissions of a round."""
        for place, each in enumerate(updates):
            dag = add(self.blocks, each if isinstance(each, bytes) else self.weights(each))
            self.ledger.send(MEMBERS[place], Submit(current.number, Update(dag.root, 10 + place, 0, dag.size)))
        self.ledger.advance(current.terms.submit_by + 1)

    def close(self, current: Round, model: Cid, manifest: Manifest) -> None:
        """Publishes a round, with whatever."""
        cid = add(self.blocks, manifest.encode()).root
        self.ledger.send(COORDINATOR, Publish(current.number, current.transcript, model, cid, NO_TERMS))

    def derived(self, current: Round) -> Derivation:
        """What follows from a round's submissions."""
        return derive(current, self.charter, self.blocks, into=self.blocks)

    def _published(self, current: Round, updates: tuple[float | bytes, ...]) -> tuple[Cid, Manifest]:
        """Of the same updates and base the same model, which is derived once; but where an optimiser remembers."""
        key = (updates, current.base if self.charter.optimiser is None else current.number)
        if key not in self._manifests:
            derived = self.derived(current)
            assert derived.model is not None
            self._manifests[key] = derived.model.root, derived.manifest
        model, manifest = self._manifests[key]
        changes = {
            "round": current.number,
            "base": str(current.base),
            "transcript": "0x" + current.transcript.hex(),
        }
        return model, manifest.model_copy(update=changes)

    def cancel(self) -> None:
        """A round that is cancelled."""
        self.ledger.send(OWNER, CancelRound(self.open().number))

    def rewind(self, number: int) -> None:
        """Goes back to the base of a round."""
        self.ledger.send(OWNER, Rewind(RoundNumber(number), self.view.rounds[number].base))

    def save(self, kind: str = "test") -> None:
        """Writes the record."""
        entries = self.ledger.read(Cursor()).entries
        record.write(self.directory / LEDGER, Record(self.ledger.identity, kind, tuple(entries)))

    def head(self) -> str:
        """The record's head as an option takes it."""
        return "0x" + self.view.head.hex()


def ten_rounds(directory: Path, **changes: Any) -> History:
    """Ten numbers, of which the fourth was cancelled and the others published; the third and the seventh model are one.

    In round 6 one update is not finite.
    """
    history = History(directory, **changes)
    for number in range(1, 11):
        if number == 4:
            history.cancel()
        else:
            history.publish(10.0 + number % 4, 2.0, math.inf if number == 6 else 3.0)
    history.save()
    return history
