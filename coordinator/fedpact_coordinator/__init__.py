"""The coordinator: opens rounds, makes models of updates, publishes them. `decide` says what, `coordinator` does it."""

from fedpact_coordinator.coordinator import Coordinator
from fedpact_coordinator.decide import Aggregate, Decision, Finished, Wait, decide

__all__ = ["Aggregate", "Coordinator", "Decision", "Finished", "Wait", "decide"]
