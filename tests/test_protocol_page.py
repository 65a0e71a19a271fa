"""docs/protocol.md is enough to write a second implementation: there is one, and it finds what we do."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest
import second_reader
from chains import MEMBERS
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_utils import keccak
from fedpact.ledger.facts import Hash, RoundNumber, Update, address
from fedpact.ledger.hashes import commitment
from fedpact.store.cid import Cid
from fedpact.store.serving.admission import Door
from histories import IDENTITY, History

PAGE = (Path(__file__).parent.parent / "docs/protocol.md").read_text("utf-8")
SALT = bytes(range(32))
ORIGIN, EXPIRES = "https://silo.example", 1_763_737_200


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The federation of the page."""
    path = tmp_path_factory.mktemp("worked")
    selection = {"name": "random", "count": 3}
    history = History(path, elements=300_000, selection=selection, name="worked example")
    history.publish(0.1, 0.7, 1.3, 2.9)
    history.publish(1.5, math.nan, 2.5, 1.5)
    history.cancel()
    history.publish(0.3, 0.2, 0.1)
    history.rewind(2)
    history.publish(0.9, 0.8, -0.7, 1e-3)
    history.save()
    return path


def worked_values(directory: Path) -> dict[str, str]:
    """What the second implementation finds."""
    steps = list(second_reader.follow(directory))
    (founded,) = [each for each in steps if each["event"] == "Founded"]
    (rewound,) = [each for each in steps if each["event"] == "Rewound"]
    of_round_1 = [each for each in steps if each.get("round") == 1]
    opened, first, *_, last, published = of_round_1
    header, size = second_reader.header(published["document"]["model"])
    found = {
        "charter": founded["charter"],
        "header of all files": header.hex(),
        "bytes of each file": f"{size:,}",
        "genesis": founded["genesis"],
        "first head": founded["head"],
        "round 1, transcript when it opens": opened["transcript"],
        "… after the first submission": first["transcript"],
        "… after the last": last["transcript"],
    }
    lines = published["manifest"]["submissions"]
    key = second_reader.order(published["document"]["selection"], founded["genesis"], published["rolled"])
    found |= {f"… drawn for member {line['index']}": key(line)[0].hex() for line in lines}
    found["… not selected"] = ", ".join(
        f"member {each['index']}" for each in lines if each["decision"] == "not_selected"
    )
    for each in steps:
        if each["event"] == "RoundPublished":
            names = (("update 1", each["manifest"]["submissions"][0]["update"]), ("model", each["model"]))
            found |= {f"round {each['round']}, {name}": value for name, value in names}
            found[f"round {each['round']}, manifest"] = second_reader.address(second_reader.canonical(each["manifest"]))
            found[f"round {each['round']}, head"] = each["head"]
            for line in each["manifest"]["submissions"]:
                if line["decision"] == "excluded":
                    found[f"round {each['round']}, member {line['index']}"] = f"{line['reason']}: {line['detail']}"
        if each is rewound:
            found["head after the rewind"] = each["head"]
    update = (lines[0]["update"], lines[0]["samples"], lines[0]["score"], lines[0]["size"])
    words = second_reader.words(31337, IDENTITY.contract, 1, MEMBERS[0], *update, SALT)
    found["commitment of member 1 to its update of round 1, salt `00 01 … 1f`"] = "0x" + keccak(words).hex()
    domain = {"name": "fedpact store", "version": "1", "chainId": 31337, "verifyingContract": IDENTITY.contract}
    types = {"Read": [{"name": "origin", "type": "string"}, {"name": "expires", "type": "uint64"}]}
    signed = encode_typed_data(domain, types, {"origin": ORIGIN, "expires": EXPIRES})
    found[f"what a token for `{ORIGIN}` until {EXPIRES} signs"] = "0x" + _hash_eip191_message(signed).hex()
    return found


def test_the_second_implementation_knows_nothing_of_the_first() -> None:
    """It imports what anyone has."""
    source = Path(second_reader.__file__).read_text("utf-8")
    nodes = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    stdlib = {"__future__", "base64", "collections.abc", "hashlib", "json", "pathlib", "typing"}
    assert names == stdlib | {"numpy", "eth_utils"}


def test_the_worked_values_are_found(directory: Path) -> None:
    """Each of the page, and no others; every model and manifest of the ledger is made again on the way."""
    rows = re.findall(r"^\| ([^|]+) \| (?:`([^|]*)`|([^|]*)) \|$", PAGE.partition("## Worked values")[2], re.MULTILINE)
    said = {name: code or text for name, code, text in rows if name not in ("value", "---")}
    assert said == worked_values(directory)


def test_its_charter_is_the_documents(directory: Path) -> None:
    """The bytes that are printed have the address that is printed."""
    (document,) = re.findall(r"^```json\n(.*)\n```$", PAGE, re.MULTILINE)
    assert second_reader.address(document.encode()) == worked_values(directory)["charter"]


def test_commitments_and_tokens_are_ours() -> None:
    """What the ledger in memory and block servers compute, too."""
    values = dict(re.findall(r"^\| ((?:commitment|what a token).*?) \| `(0x[0-9a-f]{64})` \|$", PAGE, re.MULTILINE))
    made, signed = values.values()
    found = re.findall(r"^\| round 1, update 1 \| `(\w+)` \|$", PAGE, re.MULTILINE)
    size = int(re.findall(r"^\| bytes of each file \| ([\d,]+) \|$", PAGE, re.MULTILINE)[0].replace(",", ""))
    update = Update(Cid.parse(found[0]), 10, 0, size)
    ours = commitment(IDENTITY, RoundNumber(1), address(MEMBERS[0]), update, Hash(SALT))
    assert made == "0x" + ours.hex()
    door = Door(IDENTITY, [ORIGIN], frozenset)
    assert signed == "0x" + door._digest(ORIGIN, EXPIRES).hex()


def test_what_was_altered_is_found(directory: Path, tmp_path: Path) -> None:
    """The second implementation compares: another sample count, and it stops."""
    text = (directory / "ledger.jsonl").read_text("utf-8")
    (tmp_path / "store").symlink_to(directory / "store")
    (tmp_path / "ledger.jsonl").write_text(text.replace('"samples":11', '"samples":12', 1), "utf-8")
    with pytest.raises(AssertionError):
        list(second_reader.follow(tmp_path))
