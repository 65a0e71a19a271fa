"""A whole federation over IPFS: every party is a process with a node of its own, and nothing else to keep models in."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from anvil import running as running_chain
from chains import MEMBERS
from fedpact.artifacts import manifest as manifests
from fedpact.ledger.facts import Address
from fedpact.store.opening import open_store
from fedpact.store.unixfs import add, open_file, read_small
from ipfs_node import IpfsNode, running
from runs import fedpact
from services import TRAINERS, Federation, Services
from web3 import Web3

pytestmark = pytest.mark.nodes

MODEL = {"weight": {"dtype": "F32", "shape": [1200, 1000]}}
"""Five blocks and the node above them."""
STEP = "np.random.default_rng({}).standard_normal(array.shape, dtype=np.float32)"
"""What a silo adds to every weight, by its seed: no two blocks are alike."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Sequence[IpfsNode]]:
    """Nodes of the coordinator, of two silos, and of an auditor."""
    with running(tmp_path / "nodes", 4) as nodes:
        yield nodes


@pytest.fixture
def chain() -> Iterator[Web3]:
    """A chain of its own."""
    with running_chain() as web3:
        yield web3


def test_a_federation_whose_models_are_on_ipfs_alone(chain: Web3, nodes: Sequence[IpfsNode], tmp_path: Path) -> None:
    """Each party reads and writes its own node only, and the nodes pass the blocks on. A silo's node that ends after
    its update was pinned elsewhere ends nothing; who audits with a fourth node reproduces every model."""
    members = [Address(each) for each in MEMBERS[:2]]
    rounds = {"quorum": 2, "submission_seconds": 600, "publication_seconds": 600}
    federation = Federation(chain, tmp_path / "federation", members, model=MODEL, rounds=rounds, stop={"rounds": 2})
    urls = [f"kubo+{node.url}" for node in nodes]
    founder = open_store(urls[:1])
    add(founder, federation.charter.encode())
    add(founder, federation.weights(0.0))
    founder.close()

    places = [federation.place(name, 1 + at, store=[urls[at]]) for at, name in enumerate(("coordinator", "a", "b"))]
    for seed, place in enumerate(places[1:]):
        (place / "ward.py").write_text(TRAINERS.replace("np.float32(1)", STEP.format(seed)))
        (place / "ward.txt").touch()
        with (place / "fedpact.toml").open("a") as file:
            file.write('trainer_config = "ward.txt"\n')
    with Services() as services:
        coordinator = services.coordinator(places[0])
        silos = [services.silo(place) for place in places[1:]]
        silos[1].wait_for("round 1: submitted")
        (places[2] / "ward.txt").write_text("slow")
        coordinator.wait_for("round 1: published")
        silos[0].wait_for("round 2: submitted")

        [submitted] = federation.view().rounds[2].submissions
        assert submitted.member == members[0]
        nodes[0].ask("pin/add", arg=submitted.update.cid)
        nodes[1].stop()
        assert not (places[2] / "store").exists()
        (places[2] / "ward.txt").write_text("")
        silos[1].wait_for("round 2: submitted")
        coordinator.wait_for("round 2: published")
        for service in (coordinator, *silos):
            service.end(signal.SIGTERM)
            assert "Traceback" not in service.said

    view = federation.view()
    auditor = open_store(urls[3:], writable=False)
    for number in (1, 2):
        found = view.rounds[number]
        assert found.manifest is not None
        assert found.model is not None
        manifest = manifests.decode(read_small(auditor, found.manifest, manifests.MAX_BYTES))
        assert [(line.index, line.decision) for line in manifest.submissions] == [(1, "included"), (2, "included")]
        assert open_file(auditor, found.model, manifest.size).size == federation.layout.size
    auditor.close()
    options = ["--rpc", federation.url(), "--contract", federation.ledger.identity.contract, "--store", urls[3]]
    done = fedpact("audit", *options, "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rounds"], said["reproduced"], said["ok"]) == (2, 2, True)

    nodes[2].stop()
    without = open_store([urls[2], urls[3]], writable=False)
    assert read_small(without, view.rounds[1].manifest, manifests.MAX_BYTES)  # type: ignore[arg-type]  # Seen above.
    without.close()
    federation.close()
