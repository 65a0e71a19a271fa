"""What every client trains, on digits that nobody else sees: a neural network with one hidden layer."""

import numpy as np
from fedpact_client.data import Data
from fedpact_client.estimators import EstimatorTrainer
from sklearn.neural_network import MLPClassifier

BATCH = 16


def make(file, config):
    """A client's trainer.

    Args:
        file: its data.npz, as digits.py deals it out.
        config: the charter's [trainer]; decimals are text.
    """
    with np.load(file) as arrays:
        data = Data(**arrays)
    step = float(config["learning_rate"])
    network = MLPClassifier((config["hidden"],), solver="sgd", learning_rate_init=step, batch_size=BATCH)
    return EstimatorTrainer(network, data, config, classes=10)
