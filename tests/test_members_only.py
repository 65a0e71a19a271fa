"""`fedpact store serve --members` and who reads from it, as their users run them; a chain says who is a member."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import chains
import pytest
import services
from anvil import running
from chains import CHARTER, GENESIS, LIMITS
from fedpact.errors import Unreachable
from fedpact.ledger.actions import Admit, Appoint, Remove
from fedpact.ledger.endpoints import connect
from fedpact.ledger.ethereum import EthereumLedger
from fedpact.ledger.facts import address
from fedpact.ledger.port import Follower
from fedpact.ledger.roll import EVERY, Roll
from fedpact.store import Cid, DirectoryBlocks, fetch
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.serving.admission import Door, Reader, origin_of
from fedpact.store.serving.server import BlockServer
from fedpact.store.unixfs import LEAF, add
from fedpact_simulation.devnet import accounts
from runs import FEDPACT, fedpact

KEYS = accounts(8)
ACCOUNTS = [address(key.address) for key in KEYS]
OWNER, COORDINATOR, SILO, OTHER = range(4)
STRANGER = 7
DATA = os.urandom(2 * LEAF + 5)


class Federation:
    """A contract with a coordinator and two members, and a store with a file.

    Attributes:
        cid: the file's address.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        web3 = connect(url)
        self.ledger, deployed = EthereumLedger.deploy(web3, KEYS[0], CHARTER, GENESIS, LIMITS, accounts=KEYS[1:])
        self.act(Admit((ACCOUNTS[SILO], ACCOUNTS[OTHER])))
        self.act(Appoint(ACCOUNTS[COORDINATOR]))
        blocks = DirectoryBlocks(directory / "store", sync=False)
        self.cid = str(add(blocks, DATA).root)
        blocks.close()
        contract = self.ledger.identity.contract
        settings = f'rpc = "{url}"\ncontract = "{contract}"\nfirst_block = {deployed.block}\n'
        (directory / "fedpact.toml").write_text(settings)

    def act(self, action: Any) -> None:
        self.ledger.send(ACCOUNTS[OWNER], action)

    @contextmanager
    def served(self, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """The store, served to members; what it said of itself, and the process."""
        command = [FEDPACT, "store", "serve", "store", "--members", "--port", "0", "--json", *options]
        environment = {name: each for name, each in os.environ.items() if not name.startswith("FEDPACT_")}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, cwd=self.directory, env=environment
        ) as process:
            try:
                assert process.stdout is not None
                told = json.loads(process.stdout.readline())
                yield told["store"], told["url"], process
            finally:
                process.kill()

    def get(self, store: str, *options: str) -> subprocess.CompletedProcess[str]:
        """The file, fetched by a command."""
        return fedpact("store", "get", self.cid, "-o", "again", "--store", store, *options, cwd=self.directory)


@pytest.fixture
def federation(url: str, tmp_path: Path) -> Iterator[Federation]:
    """A federation of its own."""
    federation = Federation(tmp_path, url)
    yield federation
    federation.ledger.close()


def why_not(store: str, key: int, federation: Federation) -> str:
    """Why somebody is refused; nothing where he is not."""
    url = store.removeprefix("member+")
    reader = Reader(KEYS[key], federation.ledger.identity)
    gateway = GatewayBlocks(url, authorization=lambda: reader.token(url))
    try:
        fetch(gateway, Cid.parse(federation.cid))
    except Unreachable as error:
        return str(error).partition("refuses: ")[2]
    finally:
        gateway.close()
    return ""


def test_members_get_a_file_and_others_are_told_why_not(federation: Federation) -> None:
    """Silo, coordinator and owner; neither a stranger, nor who does not sign. SIGTERM ends the server."""
    with federation.served() as (store, _, process):
        assert store.startswith("member+http://127.0.0.1:")
        assert [why_not(store, key, federation) for key in (OWNER, COORDINATOR, SILO, OTHER)] == [""] * 4
        assert why_not(store, STRANGER, federation) == f"not a member: {ACCOUNTS[STRANGER]}"
        (federation.directory / "password").write_text("a secret\n")
        kept = KEYS[SILO].encrypt("a secret", kdf="scrypt", iterations=2)
        (federation.directory / "keystore").write_text(json.dumps(kept))
        done = federation.get(store, "--key-file", "keystore", "--password-file", "password")
        assert (done.returncode, done.stderr) == (0, "")
        assert (federation.directory / "again").read_bytes() == DATA
        done = federation.get(store.replace("member+", "gateway+"))
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "refuses: not signed: this store is for members, who read it as member+http://..." in done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.nodes
def test_who_comes_and_goes_is_in_and_out_within_moments(federation: Federation) -> None:
    """The list is looked at again and again; who waits is in, who was removed is out."""
    with federation.served() as (store, _, process):
        assert why_not(store, OTHER, federation) == ""
        federation.act(Remove(ACCOUNTS[OTHER]))
        federation.act(Admit((ACCOUNTS[STRANGER],)))
        end = time.monotonic() + 3 * EVERY
        while why_not(store, STRANGER, federation):
            assert time.monotonic() < end, "who was admitted was not let in"
            time.sleep(0.1)  # Waiting for another process; bounded above.
        assert why_not(store, OTHER, federation) == f"not a member: {ACCOUNTS[OTHER]}"
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("--public-url", "https://silo.example/below"), ["https://silo.example"]),
        (("--public-url", "http://silo:1", "--public-url", "http://silo:2"), ["http://silo:1", "http://silo:2"]),
    ],
)
def test_a_server_is_asked_by_the_names_that_it_has(
    federation: Federation, options: Sequence[str], asked: Sequence[str]
) -> None:
    """With --public-url a token must name it: one for the address where it listens is for somebody else."""
    with federation.served(*options) as (store, url, _):
        assert store == f"member+{options[1]}"
        for origin in (*asked, url):
            token = Reader(KEYS[SILO], federation.ledger.identity).token(origin)
            gateway = GatewayBlocks(url, authorization=lambda token=token: token)  # type: ignore[misc]  # A default keeps it.
            if origin == url:
                with pytest.raises(
                    Unreachable, match=f"for another server: expected {' or '.join(asked)}, found {url}$"
                ):
                    gateway.get(Cid.parse(federation.cid))
            else:
                assert gateway.has(Cid.parse(federation.cid))
            gateway.close()


@pytest.mark.nodes
def test_a_round_over_stores_for_members_only(tmp_path: Path) -> None:
    """A coordinator and a silo that read from each other's stores, and the founders', as members; nobody else does."""
    with running() as web3, ExitStack() as stack:
        federation = services.Federation(web3, tmp_path, chains.MEMBERS)
        stack.callback(federation.close)
        identity = federation.ledger.identity
        members = Roll(Follower(federation.ledger))
        urls = {}
        for name in ("founders", "coordinator/store", "silo/store"):
            blocks = DirectoryBlocks(tmp_path / name)
            server = BlockServer(blocks, door=lambda url: Door(identity, [origin_of(url)], members))
            server.start()
            stack.callback(server.stop)
            urls[name] = server.url
        stores = {
            role: ["store", *(f"member+{url}" for name, url in urls.items() if not name.startswith(role))]
            for role in ("coordinator", "silo")
        }
        coordinator = federation.place("coordinator", 1, store=stores["coordinator"])
        silo = federation.place("silo", 2, store=stores["silo"])
        running_services = stack.enter_context(services.Services())
        running_services.coordinator(coordinator)
        running_services.silo(silo)
        services.wait_until(
            "a submission", lambda: federation.view().rounds.get(1) and federation.view().rounds[1].submissions
        )
        federation.travel(601)
        services.wait_until("a model", lambda: federation.view().rounds[1].model is not None)
        model = federation.view().rounds[1].model
        stranger = GatewayBlocks(urls["coordinator/store"])
        with pytest.raises(Unreachable, match="refuses: not signed"):
            stranger.get(model)
        stranger.close()
