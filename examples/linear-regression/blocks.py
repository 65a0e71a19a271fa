"""A run's record as blocks: a round is one.

    python blocks.py fedpact-runs/chain-1

`fedpact record` prints the same record entry by entry; this has the words of the original, and the models' numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from fedpact.cli import main


def blocks(directory: Path) -> Iterator[str]:
    """The blocks as lines, and the last model's address.

    Raises:
        FedpactError: the directory has no record, or a model is not in its store.
    """
    from fedpact.artifacts import charter as charters
    from fedpact.chronicle import chronicle
    from fedpact.cli.rounds import utc
    from fedpact.ledger.events import RoundOpened, RoundPublished, UpdateSubmitted
    from fedpact.ledger.view import View
    from fedpact.store.cid import Cid
    from fedpact.store.directory import DirectoryBlocks
    from fedpact.store.unixfs import open_file
    from fedpact.workdir import STORE, read_record

    read, store = read_record(directory), DirectoryBlocks(directory / STORE)
    layout = charters.fetch(store, View(read.identity, read.entries).charter).layout()

    def model(who: str, account: str, said: str, cid: Cid) -> Iterator[str]:
        weights = layout.decode(open_file(store, cid, layout.size).read())
        yield _line(who, f"{account}{said}")
        yield _line("", str(cid))
        yield _line("", " ".join(f"{number:.3f}" for array in weights.values() for number in array.flat))

    clients: dict[str, Iterator[str]] = {}
    last = None
    for step in chronicle(read.identity, read.entries):
        match step.entry.event:
            case RoundOpened():
                clients = {}
            case UpdateSubmitted(update=update):
                name = step.who.replace("member", "client")
                clients[name] = model(name, step.account, f", {update.samples} samples", update.cid)
            case RoundPublished(round=number, model=last):
                yield f"block {number}"
                for name in sorted(clients):
                    yield from clients[name]
                yield from model("server", step.account, "", last)
                yield _line("took part", ", ".join(sorted(clients)))
                yield _line("timestamp", utc(step.entry.time))
                yield _line("previous hash", "none" if step.previous is None else f"0x{step.previous.hex()}")
                yield _line("hash", "none" if step.hash is None else f"0x{step.hash.hex()}")
    yield f"model: {last}"


def _line(name: str, text: str) -> str:
    return f"  {name:<15}{text}"


def show() -> int:
    """What `python blocks.py DIR` does."""
    if len(sys.argv) != 2:
        print("usage: python blocks.py DIR", file=sys.stderr)
        return 2
    for line in blocks(Path(sys.argv[1])):
        print(line)
    return 0


if __name__ == "__main__":
    main(show)
