"""The coordinator: opens rounds, makes models of updates, publishes them. `decide` says what, `service` does it."""

from fedpact_coordinator.decide import Aggregate, Decision, Finished, Wait, decide
from fedpact_coordinator.service import Coordinator

__all__ = ["Aggregate", "Coordinator", "Decision", "Finished", "Wait", "decide"]
