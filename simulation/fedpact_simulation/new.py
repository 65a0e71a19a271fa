"""A folder to begin with: handwritten digits in files of two or more silos, a charter, and what each process is told.

    DIR/charter.toml, genesis.safetensors, my_model.py, README.md
    DIR/federation.deployment.json      comes with `fedpact deploy`
    DIR/coordinator/fedpact.toml
    DIR/silo-1/fedpact.toml, data.csv, data.toml
    DIR/silo-2/…

Everything is as it would be on machines of their own: each reads the others' artifacts over HTTP, from port 9000 (the
coordinator's), 9001 (the first silo's) and on. `fedpact_simulation.project` reads such a folder for a dry run.

A folder without code of its own (`TABLE`) trains with `fedpact_client.table` and starts from zeros.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from importlib import resources
from pathlib import Path

import numpy as np
from fedpact.errors import InputError, StoreError
from fedpact.files import write_atomically
from fedpact.suggestion import did_you_mean
from fedpact_client.first_model import GENESIS, write_first_model
from fedpact_client.loading import load_trainer

FIRST_PORT = 9000
KINDS = ("scikit-learn", "numpy", "torch")
"""What the model of a new project is made with."""
TABLE = "table"
_TRAINERS = {"numpy": "my_model:Trainer", TABLE: "fedpact_client.table:trainer"}
_RPC = "http://127.0.0.1:8545"
_TOLD = {
    TABLE: 'name = "softmax_regression"\nepochs = 2\nbatch_size = 16\nlearning_rate = "0.3"\nseed = 1\n',
    "numpy": 'epochs = 2\nbatch_size = 16\nlearning_rate = "0.3"        # decimals are text\nseed = 1\n',
    "scikit-learn": 'epochs = 2\nlearning_rate = "0.01"       # decimals are text\nseed = 1\n',
    "torch": 'epochs = 2\nbatch_size = 16\nlearning_rate = "0.1"        # decimals are text\nseed = 1\n',
}
_CHARTER = """\
# What all members agree to. The ledger keeps its address.
format = "fedpact-charter/1"
name = "handwritten digits"
score = "accuracy"

[model]
coef0 = {{ dtype = "F32", shape = [64, 10] }}
intercept0 = {{ dtype = "F32", shape = [10] }}

[trainer]
{told}
[rule]
name = "fedavg"

[rounds]
quorum = {silos}
submission_seconds = 120
publication_seconds = 60

[limits]
max_samples = 10000
min_score = "0"
max_score = "1"

[stop]
rounds = 5
"""
_EVERYBODY = """\
rpc = "{rpc}"
contract = "../federation.deployment.json"
key_file = "key.json"
state = "state"
store = [{store}]
"""
_SILO = """\
charter = "../charter.toml"                     # the one that this silo's owner accepted
trainer = "{trainer}"
trainer_config = "data.toml"
"""
_DATA = """\
data = "data.csv"
target = "digit"
classes = 10
scale = 16          # pixels are 0 to 16
"""


def write_project(directory: Path, kind: str, silos: int) -> list[Path]:
    """Writes the folder, once all of it is known to be right; returns its files.

    Args:
        directory: one that is empty, or not there yet.
        kind: one of `KINDS`, or `TABLE`.

    Raises:
        InputError: there is something already, or what the kind needs is not installed.
        StoreError: it cannot be written.
    """
    if kind not in (*KINDS, TABLE):  # The last is for `fedpact example` alone.
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, found {kind[:80]!r}{did_you_mean(kind, KINDS)}")
    if kind == "torch" and importlib.util.find_spec("torch") is None:
        raise InputError('kind torch: PyTorch is not installed here; pip install "fedpact[torch]" installs it')
    whole = directory.absolute()
    partial = whole.with_name(f".{whole.name}.{os.getpid()}.partial")
    try:
        _check_free(directory)
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            for path, text in _files(kind, silos).items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(partial / path, text.encode())
            if kind != TABLE:
                _write_first_model(partial, _TRAINERS.get(kind, "my_model:make"))
            if not directory.exists():
                partial.replace(directory)
            else:  # It may be the one that somebody works in.
                for child in partial.iterdir():
                    child.replace(directory / child.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror}") from error
    return sorted(path for path in directory.rglob("*") if path.is_file())


def next_steps(directory: Path) -> list[str]:
    """What to do with a new project, for a person."""
    return [
        f"made {directory}: charter, model, data of each silo, settings; its README.md goes on from here",
        f"a dry run:   fedpact simulate {directory}",
        f"your data:   {directory}/silo-1/data.csv and data.toml, …: a folder for each silo",
        f"your model:  change {directory}/my_model.py, then: python {directory}/my_model.py",
        f"for real:    {directory}/README.md has the commands for a chain, a coordinator and silos",
    ]


def _check_free(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputError(f"{directory}: expected a new or empty directory, found something else")
    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"{directory}: there already; expected a new or empty directory")


def _write_first_model(directory: Path, trainer: str) -> None:
    """Has the project's own code say what it learns, as its owner will have it."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        write_first_model(
            lambda file, config: load_trainer(trainer, file, config, directory),
            directory / "charter.toml",
            directory / "silo-1" / "data.toml",
        )
    finally:
        sys.dont_write_bytecode = before


def _files(kind: str, silos: int) -> dict[str, str]:
    """Every text of a project by its path."""
    names = ["coordinator", *(f"silo-{number}" for number in range(1, silos + 1))]
    trainer = _TRAINERS.get(kind, "my_model:make")
    files = {"charter.toml": _CHARTER.format(silos=silos, told=_TOLD[kind])}
    if kind != TABLE:
        templates = resources.files(__package__) / "templates"
        files["my_model.py"] = (templates / kind / "my_model.py").read_text("utf-8")
        files["README.md"] = _readme((templates / "README.md").read_text("utf-8"), names[1:])
    for place, name in enumerate(names):
        others = [f"gateway+http://127.0.0.1:{FIRST_PORT + each}" for each in range(len(names)) if each != place]
        store = ", ".join(f'"{each}"' for each in ["store", *others])
        told = _EVERYBODY.format(rpc=_RPC, store=store)
        files[f"{name}/fedpact.toml"] = told + (_SILO.format(trainer=trainer) if place else "")
    for name, table in zip(names[1:], _tables(silos), strict=True):
        files[f"{name}/data.csv"] = table
        files[f"{name}/data.toml"] = _DATA
    return files


def _readme(template: str, silos: list[str]) -> str:
    """The project's README, with its silos' names in the commands."""
    numbered = list(enumerate(silos, 1))
    serve = [f"fedpact store serve {name}/store --port {FIRST_PORT + number}" for number, name in numbered]
    run = [
        f"```sh\n# terminal {4 + number}: {name}\nexport FEDPACT_PASSWORD=only-for-trying-things\n"
        f"fedpact silo run --config {name}/fedpact.toml\n```\n"
        for number, name in numbered
    ]
    gateways = [f"gateway+http://127.0.0.1:{FIRST_PORT + number}" for number in range(len(silos) + 1)]
    words = {
        "SILOS": " ".join(silos),
        "FUND": " ".join(f"--fund {name}/key.json" for name in silos),
        "GENESIS": GENESIS,
        "MEMBERS": ", ".join(f'"$(fedpact key show {name}/key.json)"' for name in silos),
        "SERVE": " &\n".join(serve),
        "RUN": "\n".join(run),
        "STORES": ",".join(["mine", *gateways]),
    }
    for word, text in words.items():
        template = template.replace(f"@{word}@", text)
    return template


def _tables(silos: int) -> list[str]:
    """The data set in equal shares, as CSV."""
    from sklearn.datasets import load_digits  # Only now: it takes a second.

    features, targets = load_digits(return_X_y=True)
    samples = np.column_stack([features, targets]).astype(np.int64)
    dealt = np.random.default_rng(silos).permutation(samples)
    names = ",".join([*(f"pixel{index}" for index in range(features.shape[1])), "digit"])
    return [
        "\n".join([names, *(",".join(map(str, sample)) for sample in share), ""])
        for share in np.array_split(dealt, silos)
    ]
