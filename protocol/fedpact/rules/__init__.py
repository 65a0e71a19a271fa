"""How K updates become one model: pure rules on blocks (`fedavg`), and the engine that feeds them (`engine`).

block i of the model = rule(block i of update 1, …, block i of update K)
"""

from fedpact.rules.fedavg import FedAvg
from fedpact.rules.rule import Rule

RULES: dict[str, Rule] = {"fedavg": FedAvg()}
"""Every rule by the name that charters use."""

__all__ = ["RULES", "FedAvg", "Rule"]
