"""A folder to try a real federation with: handwritten digits in files of two or more silos, and what each is told.

    DIR/charter.toml
    DIR/federation.deployment.json      comes with `fedpact deploy`
    DIR/coordinator/fedpact.toml
    DIR/silo-1/fedpact.toml, data.csv, data.toml
    DIR/silo-2/…

Everything is as it would be on machines of their own: each reads the others' artifacts over HTTP, from port 9000 (the
coordinator's), 9001 (the first silo's) and on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fedpact.errors import InputError, StoreError
from fedpact.files import write_atomically
from sklearn.datasets import load_digits

FIRST_PORT = 9000
_RPC = "http://127.0.0.1:8545"
_CHARTER = """\
# What all members agree to. The ledger keeps its address.
format = "fedpact-charter/1"
name = "handwritten digits"
score = "accuracy"

[model]
coef0 = {{ dtype = "F32", shape = [64, 10] }}
intercept0 = {{ dtype = "F32", shape = [10] }}

[trainer]
name = "softmax_regression"
epochs = 2
batch_size = 16
learning_rate = "0.3"
seed = 1

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
store = [{store}]
"""
_SILO = """\
charter = "../charter.toml"                     # the one that this silo's owner accepted
trainer = "fedpact_client.table:trainer"
trainer_config = "data.toml"
"""
_DATA = """\
data = "data.csv"
target = "digit"
classes = 10
scale = 16          # pixels are 0 to 16
"""


def write_example(directory: Path, silos: int) -> list[Path]:
    """Writes the folder; returns its files.

    Args:
        directory: one that is not there yet.

    Raises:
        InputError: there is something already.
        StoreError: it cannot be written.
    """
    if directory.exists() or directory.is_symlink():
        raise InputError(f"{directory}: there already; expected a directory that is not")
    names = ["coordinator", *(f"silo-{number}" for number in range(1, silos + 1))]
    files = {directory / "charter.toml": _CHARTER.format(silos=silos)}
    for place, name in enumerate(names):
        others = [f"gateway+http://127.0.0.1:{FIRST_PORT + each}" for each in range(len(names)) if each != place]
        store = ", ".join(f'"{each}"' for each in ["store", *others])
        told = _EVERYBODY.format(rpc=_RPC, store=store)
        files[directory / name / "fedpact.toml"] = told + (_SILO if place else "")
    for name, table in zip(names[1:], _tables(silos), strict=True):
        files[directory / name / "data.csv"] = table
        files[directory / name / "data.toml"] = _DATA
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text.encode())
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror}") from error
    return list(files)


def _tables(silos: int) -> list[str]:
    """The data set in equal shares, as CSV."""
    features, targets = load_digits(return_X_y=True)
    samples = np.column_stack([features, targets]).astype(np.int64)
    dealt = np.random.default_rng(silos).permutation(samples)
    names = ",".join([*(f"pixel{index}" for index in range(features.shape[1])), "digit"])
    return [
        "\n".join([names, *(",".join(map(str, sample)) for sample in share), ""])
        for share in np.array_split(dealt, silos)
    ]
