"""Deals scikit-learn's diabetes data out to the clients: a file for each, which nobody else reads.

    python data.py

writes client-1/data.csv and client-2/data.csv, which are here already. Progression of the disease in a year from ten
measurements of 442 patients (Efron et al., "Least Angle Regression", 2004). All columns are standardised over all
patients, where a real federation would agree on constants beforehand. Client 1 has a third of the patients.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fedpact.files import write_atomically
from meeting import CLIENTS, HERE
from sklearn.datasets import load_diabetes


def write(directory: Path) -> None:
    """Writes `client-N/data.csv` in a directory."""
    data = load_diabetes()
    table = np.column_stack([data.data, data.target])
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    dealt = np.array_split(np.random.default_rng(0).permutation(table), 3)
    shares = dealt[0], np.concatenate(dealt[1:])
    names = ",".join([*data.feature_names, "progression"])
    for client, share in zip(CLIENTS, shares, strict=True):
        lines = [names, *(",".join(f"{number:.4f}" for number in patient) for patient in share), ""]
        (directory / f"client-{client}").mkdir(exist_ok=True)
        write_atomically(directory / f"client-{client}" / "data.csv", "\n".join(lines).encode())


if __name__ == "__main__":
    write(HERE)
