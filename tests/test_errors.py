"""What a command says of an error: one line, with what to do next where the kind of the error tells."""

from __future__ import annotations

from pathlib import Path

from fedpact.errors import BlockMissing, InputError, NotInstalled
from fedpact.ledger.facts import Address
from fedpact.ledger.rejections import REJECTIONS, NotOwner
from fedpact.store.unixfs import address
from runs import fedpact

CID = str(address(b"not here"))


def test_an_error_in_full_ends_with_its_advice() -> None:
    """Where it has one; the error itself does not change."""
    assert InputError("x: expected y, found z").in_full == "x: expected y, found z"
    error = BlockMissing("b", "here")
    assert (str(error), error.in_full) == ("block b: not in here", f"block b: not in here; {BlockMissing.advice}")
    line = "rule: expected one of fedavg, krum, found 'krumm'; did you mean krum?"
    assert NotInstalled(line).in_full == f"{line} fedpact rules lists what is installed"
    refused = NotOwner(Address("0x" + "1" * 40), Address("0x" + "2" * 40))
    assert refused.in_full.startswith(f"{refused}; the owner's key is needed")


def test_advice_is_a_part_of_a_line() -> None:
    """Neither a sentence nor a field that was not filled in."""
    for each in (BlockMissing, *REJECTIONS.values()):
        assert not each.advice.endswith(".")
        assert not set("{}\n") & set(each.advice)


def test_a_command_says_it(tmp_path: Path) -> None:
    """In its one line."""
    done = fedpact("store", "get", CID, "-o", "out", cwd=tmp_path)
    expected = f"fedpact: error: block {CID}: not in store; --store names a store that has it\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)
