"""What this federation trains, and how a silo trains it: a softmax regression in plain numpy, with nothing hidden.

After a change here, `python my_model.py` writes the charter's [model] and the first model, genesis.safetensors.
"""

from pathlib import Path

import numpy as np
from fedpact_client.data import read_table
from fedpact_client.first_model import write_first_model
from fedpact_client.trainer import Fit


class Trainer:
    """Trains on one silo's samples.

    Args:
        file: the silo's trainer_config, data.toml, which says where its samples are.
        config: the charter's [trainer]; decimals are text.
    """

    def __init__(self, file, config):
        self.data, self.classes = read_table(file)

    def initial_weights(self):
        """The first model; names, shapes and dtypes are the charter's [model]."""
        features = self.data.features.shape[1]
        return {"coef": np.zeros((features, self.classes), np.float32), "intercept": np.zeros(self.classes, np.float32)}

    def fit(self, weights, config):
        """Trains from given weights; config has the number of the round besides. The same again gives the same bits."""
        coef, intercept = weights["coef"].astype(np.float64), weights["intercept"].astype(np.float64)
        features, targets, size = self.data.features, self.data.targets, config["batch_size"]
        random = np.random.default_rng([config["seed"], config["round"]])
        for _ in range(config["epochs"]):
            order = random.permutation(len(targets))
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                scores = features[batch] @ coef + intercept
                shares = np.exp(scores - scores.max(axis=1, keepdims=True))
                shares /= shares.sum(axis=1, keepdims=True)
                shares[np.arange(len(batch)), targets[batch]] -= 1
                step = float(config["learning_rate"]) / len(batch)
                coef -= step * features[batch].T @ shares
                intercept -= step * shares.sum(axis=0)
        trained = {"coef": coef.astype(np.float32), "intercept": intercept.astype(np.float32)}
        return Fit(trained, len(targets), self.evaluate(trained))

    def evaluate(self, weights):
        """Figures of a model on the samples that this silo held out."""
        guesses = (self.data.held_out_features @ weights["coef"] + weights["intercept"]).argmax(axis=1)
        return {"accuracy": float((guesses == self.data.held_out_targets).mean())}


if __name__ == "__main__":
    here = Path(__file__).parent
    print(write_first_model(Trainer, here / "charter.toml", here / "silo-1" / "data.toml"))
