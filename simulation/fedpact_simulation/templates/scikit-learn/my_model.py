"""What this federation trains, and how a silo trains it: any scikit-learn estimator with partial_fit or warm_start.

After a change here, `python my_model.py` writes the charter's [model] and the first model, genesis.safetensors.
"""

from pathlib import Path

from fedpact_client import first_model
from fedpact_client.data import read_table
from fedpact_client.estimators import EstimatorTrainer
from sklearn.linear_model import SGDClassifier


def make(file, config):
    """A silo's trainer.

    Args:
        file: the silo's trainer_config, data.toml, which says where its samples are.
        config: the charter's [trainer]; decimals are text.
    """
    data, classes = read_table(file)
    estimator = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=float(config["learning_rate"]))
    return EstimatorTrainer(estimator, data, config, classes)


if __name__ == "__main__":
    here = Path(__file__).parent
    first_model.main(make, here / "charter.toml", here / "silo-1" / "data.toml")
