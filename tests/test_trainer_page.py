"""The trainer of docs/how-to/your-own-model.md trains."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fedpact_client.loading import load_trainer
from sklearn.datasets import load_digits

PAGE = (Path(__file__).parent.parent / "docs/how-to/your-own-model.md").read_text("utf-8")
CONFIG = {"name": "mine", "epochs": 2, "learning_rate": "0.3", "seed": 1, "round": 1}


def test_the_trainer_of_the_page_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handwritten digits, in the working directory of a silo; the same again gives the same bits."""
    code = re.findall(r"^```python\n# my_model.py[^\n]*\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "my_model.py").write_text(code, "utf-8")
    features, targets = load_digits(return_X_y=True)
    shares = {"x": features[:1400] / 16, "y": targets[:1400], "held_x": features[1400:] / 16, "held_y": targets[1400:]}
    np.savez(tmp_path / "ward.npz", **shares)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    trainer = load_trainer("my_model:make", tmp_path / "ward.npz", CONFIG)
    weights = {"coef0": np.zeros((64, 10), np.float32), "intercept0": np.zeros(10, np.float32)}
    first, second = trainer.fit(weights, CONFIG), trainer.fit(weights, CONFIG)
    assert first.metrics["accuracy"] > 0.8
    assert first.samples == 1400
    assert [each.tobytes() for each in first.weights.values()] == [each.tobytes() for each in second.weights.values()]
    assert trainer.evaluate(weights)["accuracy"] < 0.2
