"""Records whose rounds have several blocks, some of them forged or lost, for audits of a sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from faulty_blocks import FaultyBlocks
from fedpact.artifacts import manifest as manifests
from fedpact.artifacts.dtypes import DTYPES
from fedpact.artifacts.manifest import Manifest
from fedpact.artifacts.weights import Layout
from fedpact.audit import Audit, Scope, audit
from fedpact.ledger.port import Cursor
from fedpact.ledger.view import Round
from fedpact.store import Cid
from fedpact.store.unixfs import LEAF, add, leaf_count, open_file, read_small
from histories import Forge, History

PUBLISHED = [1, 2, 3, 5, 6, 7, 8, 9, 10]
MODEL = {
    "steps": {"dtype": "I64", "shape": [5]},
    "double": {"dtype": "F64", "shape": [70_001]},
    "single": {"dtype": "F32", "shape": [200, 1_501]},
    "half": {"dtype": "F16", "shape": [250_001]},
}
"""Three leaves; none of the tensors ends where a leaf does."""
LEAVES = 3
KINDS: dict[str, dict[str, Any]] = {
    "fedavg": {"rule": {"name": "fedavg"}},
    "median": {"rule": {"name": "median"}},
    "krum": {"rule": {"name": "krum", "parameters": {"byzantine": 0}}, "rounds": {"quorum": 3}},
    "norm_clip": {"before": {"name": "norm_clip", "parameters": {"bound": "median"}}},
    "fedadam": {
        "optimiser": {
            "name": "fedadam",
            "parameters": {"learning_rate": "0.1", "beta1": "0.9", "beta2": "0.99", "tau": "0.001"},
        }
    },
}
SINGLE = {"f32": {"dtype": "F32", "shape": [600_000]}}
"""Three leaves of one kind; an optimiser's moments have the same layout."""
SURVEYING = ["krum", "norm_clip"]


def weights(seed: int, layout: Layout) -> bytes:
    """A file of random weights."""
    source = np.random.default_rng(seed)
    return layout.encode(
        {
            each.name: (source.standard_normal(each.shape) * 10).astype(DTYPES[each.dtype].array)
            for each in layout.tensors
        }
    )


def altered(data: bytes, leaf: int, value: bytes = b"\0\0") -> bytes:
    """The file with another element in the middle of a leaf: of float16 in the last, where a half is needed."""
    place = leaf * LEAF + (min(len(data) - leaf * LEAF, LEAF) // 16 * 8)
    return data[:place] + value + data[place + len(value) :]


NAN = {0: np.float64(np.nan).tobytes(), 1: np.float32(np.nan).tobytes(), 2: np.float16(np.nan).tobytes()}
"""What is not finite in the middle of each leaf."""


class Stage(History):
    """A history of a model with three leaves, in a store that can lose blocks; it is audited in this process."""

    def __init__(self, directory: Path, kind: str = "fedavg", **changes: Any) -> None:
        super().__init__(directory, **{"model": MODEL, **KINDS[kind], **changes})
        assert leaf_count(self.layout.size) == LEAVES
        self.faulty = FaultyBlocks(self.blocks)
        self._drawn = 0

    def manifest(self, number: int) -> Manifest:
        """The manifest of a published round."""
        cid = self.view.rounds[number].manifest
        assert cid is not None
        return manifests.decode(read_small(self.blocks, cid, manifests.MAX_BYTES))

    def update(self) -> bytes:
        """An update that there was not yet."""
        self._drawn += 1
        return weights(self._drawn, self.layout)

    def three(self, forge: Forge | None = None) -> Round:
        """A round of three updates."""
        return self.publish(self.update(), self.update(), self.update(), forge=forge)

    def audit(self, seed: int = 0, share: str | None = "0.3", **options: Any) -> Audit:
        """What an auditor finds."""
        scope = Scope(share=None if share is None else Decimal(share), seed=seed)
        entries = self.ledger.read(Cursor()).entries
        return audit(self.ledger.identity, entries, self.faulty, **{"scope": scope, **options})

    def read(self, cid: Cid | str, layout: Layout | None = None) -> bytes:
        """A file of weights."""
        address = Cid.parse(cid) if isinstance(cid, str) else cid
        return open_file(self.blocks, address, (layout or self.layout).size).read()

    def with_model(self, change: Callable[[bytes], bytes]) -> Forge:
        """Publishes other bytes than those of the model, and a manifest that names them."""

        def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
            other = add(self.blocks, change(self.read(model))).root
            return other, manifest.model_copy(update={"model": str(other)})

        return forge

    def with_line(self, index: int, **changes: Any) -> Forge:
        """Publishes the model with a manifest that says something else of a submission."""
        return lambda model, manifest: (model, with_line(manifest, index, **changes))

    def with_state(self, change: Callable[[dict[str, str]], dict[str, str]]) -> Forge:
        """Publishes the model with other addresses of the optimiser's moments."""

        def forge(model: Cid, manifest: Manifest) -> tuple[Cid, Manifest]:
            assert manifest.optimiser is not None
            other = manifest.optimiser.model_copy(update={"state": change(manifest.optimiser.state)})
            return model, manifest.model_copy(update={"optimiser": other})

        return forge


def with_line(manifest: Manifest, index: int, **changes: Any) -> Manifest:
    """A manifest that says something else of a submission."""
    lines = list(manifest.submissions)
    lines[index - 1] = lines[index - 1].model_copy(update=changes)
    return manifest.model_copy(update={"submissions": lines})


def drawn(number: int, seed: int, share: str = "0.3") -> Sequence[int]:
    """The blocks of a round that are drawn."""
    found = Scope(share=Decimal(share), seed=seed).leaves(number, LEAVES)
    assert found is not None
    return found


def seed_for(number: int, wanted: Collection[int], share: str = "0.3") -> int:
    """The first seed that draws these blocks of a round."""
    return next(seed for seed in range(1000) if list(drawn(number, seed, share)) == sorted(wanted))


def found(told: Audit) -> list[tuple[int, str]]:
    """Where something differs."""
    return [(each.round, each.what) for each in told.all_findings]
