"""How good a model is, next to least squares on all clients' samples at once: nobody in a real federation could.

python central.py fedpact-runs/chain-1/model.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from fedpact.cli import main
from meeting import CLIENTS, HERE


def scores(file: Path) -> tuple[float, float]:
    """R2 of a model and of the central solution, on the samples that the clients held out.

    Raises:
        FedpactError: the file is no model of charter.toml, or too large to be one.
    """
    from fedpact.artifacts.charter import parse_toml
    from fedpact.deployment.plan import read_genesis
    from fedpact_client.data import read_table
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    layout = parse_toml(HERE / "charter.toml").layout()
    model = layout.decode(read_genesis(Path(), str(file), layout))
    samples = [read_table(HERE / f"client-{client}" / "data.toml")[0] for client in CLIENTS]
    features, targets, held_out_features, held_out_targets = (
        np.concatenate([getattr(each, name) for each in samples])
        for name in ("features", "targets", "held_out_features", "held_out_targets")
    )
    central = LinearRegression().fit(features, targets)
    guesses = held_out_features @ model["coef_"] + model["intercept_"]
    return r2_score(held_out_targets, guesses), central.score(held_out_features, held_out_targets)


def compare() -> int:
    """What `python central.py MODEL` does."""
    if len(sys.argv) != 2:
        print("usage: python central.py MODEL", file=sys.stderr)
        return 2
    federated, central = scores(Path(sys.argv[1]))
    print(f"R2 on held-out samples: federated {federated:.4f}, central {central:.4f}")
    return 0


if __name__ == "__main__":
    main(compare)
