"""A silo: trains on its own data and submits updates.

`owe` says what, `silo` does it, trainers are behind the port `trainer`.
"""

from fedpact_client.owe import Debt, Nothing, Refuse, Released, Train, owe
from fedpact_client.silo import Prepared, Silo
from fedpact_client.trainer import Config, Fit, Metrics, Trainer

__all__ = [
    "Config",
    "Debt",
    "Fit",
    "Metrics",
    "Nothing",
    "Prepared",
    "Refuse",
    "Released",
    "Silo",
    "Train",
    "Trainer",
    "owe",
]
