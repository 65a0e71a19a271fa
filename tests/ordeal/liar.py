"""A coordinator that publishes another model than the updates make, with a manifest that says that they do."""

from __future__ import annotations

from fedpact.artifacts import charter as charters
from fedpact.derivation import derive
from fedpact.ledger.actions import Publish
from fedpact.ledger.port import Follower
from fedpact.store.cid import Cid
from fedpact.store.opening import open_store
from fedpact.store.unixfs import add, open_file

from ordeal.federation import Federation, Party


def publish_a_lie(federation: Federation, liar: Party) -> Cid:
    """Takes over the open round, publishes a model of the liar's own, and opens the next round; returns the model."""
    ledger = federation.ledger(liar.key)
    others = [each.store for each in federation.parties if each is not liar]
    blocks = open_store([str(liar.directory / "store"), *others])
    try:
        current = Follower(ledger).refresh().open_round
        assert current is not None, "liar: expected an open round"
        charter = charters.fetch(blocks, current.charter)
        layout = charter.layout()
        derived = derive(current, charter, blocks, into=blocks)
        assert derived.model is not None, "liar: expected a model"
        truth = layout.decode(open_file(blocks, derived.model.root, layout.size).read())
        lie = add(blocks, layout.encode({name: array * 2 for name, array in truth.items()}))
        manifest = add(blocks, derived.manifest.model_copy(update={"model": str(lie.root)}).encode())
        terms = charter.terms(ledger.now())
        ledger.send(liar.account, Publish(current.number, current.transcript, lie.root, manifest.root, terms))
        return lie.root
    finally:
        blocks.close()
        ledger.close()
