"""What was transferred, as the services counted it, beside what the ledger says that there was to transfer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedpact.errors import FedpactError
from fedpact.ledger.view import View
from fedpact.overview import Documents
from fedpact.store.directory import DirectoryBlocks
from fedpact.workdir import STORE, read_record


def table(server: Path, clients: Sequence[str], offered: Mapping[str, str], said: Mapping[str, Sequence[str]]) -> str:
    """Of each client: in how many rounds it published metadata and was in the model, the bytes of its own models, and
    how many of them the server fetched.

    Args:
        server: the server's directory, with the record and its store.
        clients: in the order of their indexes on the ledger.
        offered: everyone's store as the others ask it, `gateway+URL`.
        said: everyone's log, which says at its end what came from which store.

    Raises:
        FedpactError: the record cannot be read, or a log does not say it.
    """
    read = read_record(server)
    view, documents = View(read.identity, read.entries), Documents(DirectoryBlocks(server / STORE))
    published, included, size = Counter[int](), Counter[int](), Counter[int]()
    for each in view.published:
        for submission in each.submissions:
            published[submission.index] += 1
            size[submission.index] += submission.update.size
        manifest = documents.manifest(each)
        if manifest is None:
            raise FedpactError(f"round {each.number}: expected its manifest in the server's store, found none")
        included.update(line.index for line in manifest.submissions if line.decision == "included")
    rows: list[tuple[str, ...]] = [
        ("", "metadata published", "in the model", "bytes of its models", "fetched by the server")
    ]
    fetched = [_read(said["server"], offered[name]) for name in clients]
    for index, name in enumerate(clients, 1):
        figures = published[index], included[index], size[index], fetched[index - 1]
        rows.append((name, *(f"{figure:,}" for figure in figures)))
    every, some = size.total(), sum(fetched)
    rows.append(("all", *(f"{each:,}" for each in (published.total(), included.total(), every, some))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    among = sum(_read(said[one], offered[other]) for one in clients for other in clients if one != other)
    share = f"{(some + among) / every:.1%}" if every else "-"
    lines.append(f"transferred from clients: {some + among:,} bytes, {share} of what it had been without selection")
    return "\n".join(lines)


def _read(log: Sequence[str], store: str) -> int:
    """The bytes that a service says it read from a store; of stores that moved nothing it says nothing."""
    name = store.replace("+", " ", 1)
    for line in reversed(log):
        if " moved: " in line:
            found = re.search(rf"[:;] {re.escape(name)}: ([\d,]+) bytes read, ", line)
            return int(found[1].replace(",", "")) if found else 0
    raise FedpactError(f"{name}: expected a service's line that says what was moved, found none")
