"""A server and clients train a neural network; on the ledger are only metadata. Each is a process, with its own store.

    python run.py                                   four clients, of which the best two are fetched in each round
    python run.py --clients 2 --selected 1          one server and two clients
    python run.py --clients 2 --selected 2 --away 1 --rounds 1
                                                    the second one's gateway does not answer
    python run.py --data mnist                      the full MNIST, where there is a network

It starts a chain (`fedpact devnet`), founds the federation (`fedpact deploy`), and starts for everyone a block server
(`fedpact store serve`) and a service (`fedpact coordinator run`, `fedpact silo run`). When these are over it prints
the record of the ledger, audits it, and says what was transferred. The directory of a run is left as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import digits
import trainer
from fedpact.artifacts import charter as charters
from fedpact.errors import FedpactError, InputError
from fedpact_client.first_model import GENESIS, write_first_model
from processes import Service, run
from transfers import table

HERE = Path(__file__).resolve().parent
DEPLOYED = "federation.deployment.json"


def main() -> int:
    """Runs a federation; returns the exit code."""
    told = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(told, [f"client-{number}" for number in range(1, told.clients + 1)])
    except FedpactError as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"run.py: error: {error.filename or 'system'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run.py: interrupted; everything that it started has ended", file=sys.stderr)
        return 130
    return 0


def _run(told: argparse.Namespace, clients: list[str]) -> None:
    directory = _prepare(told, clients)
    with ExitStack() as stack:

        def start(name: str, *arguments: str, **variables: str) -> Service:
            service = Service(name, *arguments, directory=directory, **variables)
            stack.callback(service.stop)
            return service

        everyone = ["server", *clients]
        seconds, accounts = str(told.block_time), str(len(everyone) + 1)
        chain = start("chain", "devnet", "--port", "0", "--block-time", seconds, "--accounts", accounts, "--json")
        stores = {name: start(name, "store", "serve", f"{name}/store", "--port", "0", "--json") for name in everyone}
        node = json.loads(chain.answer())
        owner, *keys = [account["key"] for account in node["accounts"]]
        offered = {name: json.loads(stores[name].answer())["store"] for name in everyone}

        _found(directory, node)
        on_chain = ("--rpc", node["url"], "--store", "server/store")
        run(directory, "deploy", "federation.toml", *on_chain, FEDPACT_KEY=owner)
        for name in everyone:
            others = [store for other, store in offered.items() if other != name]
            _settings(directory / name, node["url"], others)
        for name in clients[told.clients - told.away :]:
            stores.pop(name).stop()
        services = {
            name: start(name, *_command(name), "--config", f"{name}/fedpact.toml", FEDPACT_KEY=key)
            for name, key in zip(everyone, keys, strict=True)
        }
        _wait(list(services.values()), [chain, *stores.values()])

        contract = ("--contract", DEPLOYED)
        run(directory, "model", "get", *on_chain, *contract, "-o", "server/model.safetensors")
        run(directory, "record", *on_chain[:2], *contract, "-o", "server/ledger.jsonl")
    # The chain is gone, and its record is as good as before.
    run(directory, "record", "server")
    run(directory, "audit", "server")
    said = {name: services[name].said for name in everyone}
    print(f"\n{table(directory / 'server', clients, offered, said)}")
    print(f"accuracy on digits that nobody trained on: {_accuracy(directory):.4f}")
    print(f"everything is in {directory}; its subdirectory server has the record and the models")


def _prepare(told: argparse.Namespace, clients: list[str]) -> Path:
    """Makes the directory of a run: a project as `fedpact new` makes one, but for the settings."""
    directory: Path = told.workdir or _next(Path("fedpact-runs"))
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"workdir {directory}: expected a new or empty directory")
    directory = directory.absolute()
    for name in ("server", *clients):
        (directory / name / "store").mkdir(parents=True)
    digits.deal(told.data, [directory / name for name in clients], directory / "held-out.npz", told.seed)
    text = (HERE / "charter.toml").read_text("utf-8")
    asked = {"count": told.selected, "rounds": told.rounds}
    if told.away:  # For whose models is waited until half of the time for publishing is over.
        asked |= {"submission_seconds": 30, "publication_seconds": 10}
    for setting, number in asked.items():
        text = re.sub(rf"^{setting} = \d+$", f"{setting} = {number}", text, flags=re.MULTILINE)
    (directory / "charter.toml").write_text(text, "utf-8")
    shutil.copy(HERE / "trainer.py", directory)
    write_first_model(trainer.make, directory / "charter.toml", directory / clients[0] / "data.npz")
    return directory


def _next(runs: Path) -> Path:
    number = 1
    while (runs / f"metadata-selection-{number}").exists():
        number += 1
    return runs / f"metadata-selection-{number}"


def _found(directory: Path, node: dict[str, Any]) -> None:
    """What the owner deploys: the first account is his, the next one the server's, the others the clients'."""
    addresses = [account["address"] for account in node["accounts"]]
    lines = ['charter = "charter.toml"', f'genesis = "{GENESIS}"']
    lines += [f"members = {json.dumps(addresses[2:])}", f"coordinators = {json.dumps(addresses[1:2])}"]
    (directory / "federation.toml").write_text("\n".join([*lines, ""]))


def _settings(place: Path, url: str, others: list[str]) -> None:
    """A service's settings. Clients take the server's model on trust here, as the original's do; the audit does not."""
    lines = [f'rpc = "{url}"', f'contract = "../{DEPLOYED}"', 'state = "state"']
    lines.append(f"store = {json.dumps(['store', *others])}")
    if place.name != "server":
        lines += ['charter = "../charter.toml"', 'trainer = "trainer:make"', 'trainer_config = "data.npz"']
        lines.append('verify = "off"')
    (place / "fedpact.toml").write_text("\n".join([*lines, ""]))


def _command(name: str) -> tuple[str, str]:
    return ("coordinator", "run") if name == "server" else ("silo", "run")


def _wait(services: list[Service], others: list[Service]) -> None:
    """Until all services are over, as the charter says; what fails, or ends before, ends everything."""
    while True:
        over = [each.ended() for each in services]
        if all(over):
            return
        for each in others:
            if each.ended():
                raise FedpactError(f"{each.name}: ended by itself")
        time.sleep(0.1)


def _accuracy(directory: Path) -> float:
    charter = charters.parse_toml(directory / "charter.toml")
    weights = charter.layout().decode((directory / "server" / "model.safetensors").read_bytes())
    return trainer.make(directory / "held-out.npz", charter.trainer).evaluate(weights)["accuracy"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="how many clients (default 4)")
    parser.add_argument("--selected", type=int, metavar="K", help="fetched in each round (default half of them)")
    parser.add_argument("--away", type=int, default=0, metavar="N", help="so many have a gateway that does not answer")
    parser.add_argument("--rounds", type=int, default=6, metavar="R", help="rounds (default 6)")
    parser.add_argument("--data", choices=digits.KINDS, default="digits", help="which digits (default digits)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="deals the digits out (default 0)")
    parser.add_argument("--block-time", type=float, default=1.0, metavar="S", help="seconds from block to block")
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="a new or empty directory")
    told = parser.parse_args()
    if told.selected is None:
        told.selected = max(1, told.clients // 2)
    if not 1 <= told.clients <= 50:
        parser.error(f"--clients: expected 1 to 50, found {told.clients}")
    if not 1 <= told.selected <= told.clients:
        parser.error(f"--selected: expected 1 to {told.clients}, the clients, found {told.selected}")
    if not 0 <= told.away < told.clients:
        parser.error(f"--away: expected 0 to {told.clients - 1}, found {told.away}")
    if not 1 <= told.rounds <= 1000:
        parser.error(f"--rounds: expected 1 to 1000, found {told.rounds}")
    if told.seed < 0:
        parser.error(f"--seed: expected a number that is not negative, found {told.seed}")
    if not 0.1 <= told.block_time <= 3600:
        parser.error(f"--block-time: expected 0.1 to 3600, found {told.block_time}")
    return told


if __name__ == "__main__":
    sys.exit(main())
