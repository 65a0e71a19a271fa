"""A trainer for a silo whose data are a table: `--trainer fedpact_client.table:trainer --trainer-config FILE`.

The file describes the table as `fedpact_client.data` says; the charter's section `trainer` is that of
`fedpact_client.scikit_learn`.
"""

from __future__ import annotations

from pathlib import Path

from fedpact_client.data import read_table
from fedpact_client.scikit_learn import ScikitLearnTrainer
from fedpact_client.trainer import Config


def trainer(file: Path | None, config: Config) -> ScikitLearnTrainer:
    """The trainer of a table.

    Raises:
        InputError: the file, or the table that it names, cannot be used.
        CharterError: the charter's section `trainer` does not fit.
    """
    data, classes = read_table(file)
    return ScikitLearnTrainer(data, config, classes)
