"""Before a silo trains on a model, it derives it again: in full, or a sample of its blocks, as its owner chose."""

from __future__ import annotations

import math
import secrets
from decimal import Decimal

from fedpact.artifacts import charter as charters
from fedpact.audit import Audit, RoundAudit, Scope
from fedpact.audit.report import report
from fedpact.audit.round import audit_round
from fedpact.errors import BlockMismatch, BlockMissing, FedpactError
from fedpact.ledger.facts import Hash, Identity
from fedpact.ledger.view import Round
from fedpact.store.blocks import Blocks, fetch, is_distant
from fedpact.store.cid import Cid
from fedpact.store.pins import hold
from fedpact.store.unixfs import add, leaf_count


class Verifier:
    """Derives published rounds again.

    Args:
        blocks: where their artifacts are, and where a report is put.
        share: of each model's blocks, at least one block; 1 for all of them.
        threads: leaves that are worked on at once.
    """

    def __init__(self, identity: Identity, blocks: Blocks, share: Decimal, threads: int = 1) -> None:
        self._identity = identity
        self._blocks = blocks
        self._intact = _Intact(blocks)
        self._share = None if share == 1 else share
        self._threads = threads

    def verify(self, current: Round) -> RoundAudit:
        """Derives one round. The blocks are drawn now, when its model cannot be changed any more.

        What a store gives that is not what was asked for is the store's fault, not the coordinator's: it counts as
        missing here, so that nobody disputes a good model because of a bad gateway.
        """
        try:
            charter = charters.fetch(self._intact, current.charter)
        except FedpactError:
            charter = None
        share, seed = self._share, secrets.randbits(64)
        if share is not None and charter is not None:
            blocks = leaf_count(charter.layout().size)
            share = None if math.ceil(share * blocks) == blocks else share
        scope = Scope(current.number, current.number, share, 0 if share is None else seed)
        return audit_round(current, charter, self._intact, scope=scope, threads=self._threads)

    def report(self, current: Round, found: RoundAudit, head: Hash) -> Cid:
        """Puts what was found into the store, to attest with.

        Raises:
            StoreError: it cannot be kept.
        """
        scope = Scope(current.number, current.number)
        whole = Audit(scope, rounds=[found], published=[current], head=head)
        root = add(self._blocks, report(self._identity, whole).encode()).root
        hold(self._blocks, root)
        return root


class _Intact:
    """Another store, without the blocks that are damaged in it."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    @property
    def distant(self) -> bool:
        """Whether the store is."""
        return is_distant(self._blocks)

    def get(self, cid: Cid) -> bytes:
        try:
            return fetch(self._blocks, cid)
        except BlockMismatch:
            raise BlockMissing(str(cid), "the stores: one has other bytes under this address") from None

    def put(self, cid: Cid, data: bytes | bytearray) -> None:
        self._blocks.put(cid, data)

    def has(self, cid: Cid) -> bool:
        return self._blocks.has(cid)
