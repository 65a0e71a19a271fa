"""A silo's table: every file that cannot be used is one line that says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedpact.errors import CharterError, InputError
from fedpact_client.table import trainer

CONFIG = {"name": "softmax_regression", "epochs": 1, "batch_size": 2, "learning_rate": "0.1", "seed": 1}
FILE = 'data = "ward.csv"\ntarget = "outcome"\nclasses = 2\nheld_out = 2\n'
TABLE = "age,outcome,dose\n1,0,10\n2,1,20\n3,0,30\n4,1,40\n"


def make(folder: Path, file: str | bytes = FILE, table: str | bytes | None = TABLE, **config: str | int) -> object:
    """The trainer of these files."""
    path = folder / "ward.toml"
    path.write_bytes(file.encode() if isinstance(file, str) else file)
    if table is not None:
        (folder / "ward.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    return trainer(path, CONFIG | config)


BAD_FILES = {
    "nothing": ("", "data: expected a value, found nothing"),
    "no TOML": ("data = ", "ward.toml: "),
    "no text": (b"\xff\xfe", "ward.toml: "),
    "nested without end": ("a = " + "[" * 100_000, "ward.toml: "),
    "an unknown key": (FILE + "scales = 2\n", "scales: unknown; expected one of data"),
    "another type": (FILE.replace('"outcome"', "3"), "target: expected text, found the number 3"),
    "one class short of none": (
        FILE.replace("classes = 2", "classes = -1"),
        "classes: expected at least 0, found the number -1",
    ),
    "all held out": (FILE.replace("held_out = 2", "held_out = 1"), "held_out: expected at least 2, found the number 1"),
    "a scale of nothing": (FILE + "scale = 0.0\n", "scale: "),
    "a scale that is no number": (FILE + "scale = nan\n", "scale: "),
    "a table that is not there": (FILE.replace("ward.csv", "absent.csv"), "absent.csv: No such file or directory"),
    "a directory": (FILE.replace("ward.csv", "."), ": Is a directory"),
    "a name with a zero byte": (FILE.replace("ward.csv", "\\u0000"), ": "),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_line(tmp_path: Path, kind: str) -> None:
    """The file, the key, what was expected and found."""
    file, said = BAD_FILES[kind]
    _refused(tmp_path, said, file=file)


BAD_TABLES = {
    "nothing": ("", "target: expected one of the columns , found 'outcome'"),
    "names alone": ("age,outcome\n", "expected 2 numbers in each of at least 2 lines, found 0 lines of "),
    "another name": (TABLE.replace("outcome", "result"), "expected one of the columns age, result, dose, found 'outc"),
    "one sample": ("age,outcome\n1,1\n", "expected 2 numbers in each of at least 2 lines, found 1 lines of 2"),
    "the target alone": ("outcome\n1\n0\n1\n", "expected 1 numbers in each"),
    "a word": (TABLE.replace("20", "much"), "expected numbers with commas between them: "),
    "a gap": (TABLE.replace("20", ""), "expected numbers with commas between them: "),
    "a short line": (TABLE.replace(",20", ""), "expected numbers with commas between them: "),
    "a column without a name": (TABLE.replace(",dose", ""), "expected 2 numbers in each"),
    "no finite number": (TABLE.replace("20", "nan"), "dose: expected a finite number, found nan"),
    "an infinite number": (TABLE.replace("20", "-inf"), "dose: expected a finite number, found -inf"),
    "a number beyond all": (TABLE.replace("20", "1e999"), "dose: expected a finite number, found inf"),
    "a class too many": (TABLE.replace(",1,", ",2,"), "outcome: expected classes from 0 to 1, found 2"),
    "a negative class": (TABLE.replace(",1,", ",-1,"), "outcome: expected classes from 0 to 1"),
    "half a class": (TABLE.replace(",1,", ",0.5,"), "outcome: expected classes from 0 to 1, found 0.5"),
    "no text": (b"\xff\xfe\x00\x01", "ward.csv: "),
    "no text below the names": (TABLE.encode() + b"\xff,1,1\n", "expected numbers with commas between them: "),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_bad_table_is_one_line(tmp_path: Path, kind: str) -> None:
    """The file, and what is wrong with it."""
    table, said = BAD_TABLES[kind]
    _refused(tmp_path, said, table=table)


def _refused(folder: Path, said: str, **files: str | bytes) -> None:
    with pytest.raises(InputError) as caught:
        make(folder, **files)  # type: ignore[arg-type]
    assert str(folder) in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600 + len(str(folder))


def test_without_a_file_there_is_no_table() -> None:
    """The setting is named."""
    with pytest.raises(InputError, match=r"^trainer_config: expected a file that names the table, found none"):
        trainer(None, CONFIG)


@pytest.mark.parametrize("change", [{"name": "magic"}, {"epochs": "many"}, {"learning_rate": "fast"}])
def test_a_charter_that_names_no_such_trainer_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    """That is the charter's fault, not the table's."""
    with pytest.raises(CharterError):
        make(tmp_path, **change)


def test_every_nth_sample_is_held_out(tmp_path: Path) -> None:
    """Features are the other columns in their order, scaled; the target keeps its own."""
    made = make(tmp_path, FILE + "scale = 10\n".replace("10", "10.0"))
    data = made._data  # type: ignore[attr-defined]
    np.testing.assert_array_equal(data.held_out_features, [[0.1, 1.0], [0.3, 3.0]])
    np.testing.assert_array_equal(data.features, [[0.2, 2.0], [0.4, 4.0]])
    np.testing.assert_array_equal(data.targets, [1, 1])
    assert data.targets.dtype == np.int64


def test_numbers_are_learnt_without_classes(tmp_path: Path) -> None:
    """A regression's target may be any number."""
    file, table = FILE.replace("classes = 2\n", ""), TABLE.replace(",1,", ",0.5,")
    made = make(tmp_path, file, table, name="linear_regression")
    assert made._data.targets.tolist() == [0.5, 0.5]  # type: ignore[attr-defined]
