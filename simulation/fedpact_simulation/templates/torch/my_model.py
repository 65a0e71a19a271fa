"""What this federation trains, and how a silo trains it: any PyTorch module.

After a change here, `python my_model.py` writes the charter's [model] and the first model, genesis.safetensors.
"""

from pathlib import Path

import torch
from fedpact_client import first_model
from fedpact_client.data import read_table
from fedpact_client.pytorch import TorchTrainer, datasets
from torch import nn


def make(file, config):
    """A silo's trainer.

    Args:
        file: the silo's trainer_config, data.toml, which says where its samples are.
        config: the charter's [trainer]; decimals are text.
    """
    data, classes = read_table(file)
    train, held_out = datasets(data)
    torch.manual_seed(config["seed"])  # The first weights are the same wherever they are made.
    module = nn.Sequential(nn.Linear(data.features.shape[1], 32), nn.ReLU(), nn.Linear(32, classes))
    return TorchTrainer(module, nn.CrossEntropyLoss(), train, held_out, config)


if __name__ == "__main__":
    here = Path(__file__).parent
    first_model.main(make, here / "charter.toml", here / "silo-1" / "data.toml")
