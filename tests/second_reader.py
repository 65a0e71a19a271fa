"""A second implementation of docs/protocol.md: it reads a ledger and a store, and makes every model and manifest again.

It imports nothing of fedpact: all that it knows is on that page. It has the rule `fedavg` of F32 tensors, every
selection, and submissions without commitments.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from eth_utils import keccak

LEAF, LINKS = 1 << 20, 1024
Json = dict[str, Any]


def canonical(value: object) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# -------------------------------------------------------------------------------------------------------- addresses


def cid(codec: int, digest: bytes) -> str:
    """The text of an address."""
    return "b" + base64.b32encode(bytes([1, codec, 0x12, 0x20]) + digest).decode().rstrip("=").lower()


def parts(text: str) -> tuple[int, bytes]:
    """Codec and digest of an address."""
    raw = base64.b32decode(text[1:].upper() + "======")
    return raw[1], raw[4:]


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def address(data: bytes) -> str:
    """The address of a file: leaves, and nodes above them."""
    pieces = [data[at : at + LEAF] for at in range(0, max(1, len(data)), LEAF)]
    level = [(cid(0x55, hashlib.sha256(each).digest()), len(each), len(each)) for each in pieces]
    while len(level) > 1:
        level = [_node(level[at : at + LINKS]) for at in range(0, len(level), LINKS)]
    return level[0][0]


def _node(children: list[tuple[str, int, int]]) -> tuple[str, int, int]:
    out, unixfs = b"", b"\x08\x02\x18" + varint(sum(size for _, size, _ in children))
    for text, size, total in children:
        codec, digest = parts(text)
        link = b"\x0a\x24\x01" + bytes([codec]) + b"\x12\x20" + digest + b"\x12\x00\x18" + varint(total)
        out += b"\x12" + varint(len(link)) + link
        unixfs += b"\x20" + varint(size)
    out += b"\x0a" + varint(len(unixfs)) + unixfs
    whole = len(out) + sum(total for _, _, total in children)
    return cid(0x70, hashlib.sha256(out).digest()), sum(size for _, size, _ in children), whole


def read(store: Path, text: str) -> bytes:
    """A file of a store, every block of it compared with its address."""
    (path,) = store.glob(f"blocks/*/{text}")
    data = path.read_bytes()
    assert hashlib.sha256(data).digest() == parts(text)[1]
    if parts(text)[0] == 0x55:
        return data
    out, at = b"", 0
    while data[at] == 0x12:
        length, start = data[at + 1], at + 2  # A link is shorter than 128 bytes.
        out += read(store, cid(data[start + 3], data[start + 6 : start + 38]))
        at = start + length
    return out


# ----------------------------------------------------------------------------------------------------------- hashes


def words(*values: object) -> bytes:
    """`abi.encode` of static values: numbers, hashes as bytes, accounts as 0x…, content addresses as b…."""
    out = b""
    for value in values:
        if isinstance(value, int):
            out += value.to_bytes(32, "big", signed=value < 0)
        elif isinstance(value, bytes):
            out += value.rjust(32, b"\0")
        elif isinstance(value, str) and value.startswith("0x"):
            out += bytes.fromhex(value[2:]).rjust(32, b"\0")
        elif isinstance(value, str):
            codec, digest = parts(value)
            out += digest + codec.to_bytes(32)
    return out


def rolled(*values: object) -> bytes:
    """A transcript: the last 28 bytes."""
    return keccak(words(*values))[4:]


def update_words(update: Json) -> tuple[object, ...]:
    """The five words of an update."""
    return update["cid"], update["samples"], update["score"], update["size"]


# ---------------------------------------------------------------------------------------------------------- weights


def header(model: Json) -> tuple[bytes, int]:
    """The bytes before the first element, and those of the whole file, of a model of F32 tensors."""
    entries, at = {}, 0
    for name in sorted(model):
        shape = model[name]["shape"]
        assert model[name]["dtype"] == "F32"
        end = at + 4 * int(np.prod(shape, dtype=np.int64))
        entries[name], at = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}, end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + at


def element(model: Json, place: int) -> str:
    """The name of an element of the file."""
    for name in sorted(model):
        count = int(np.prod(model[name]["shape"], dtype=np.int64))
        if place < count:
            return f"{name}[{', '.join(map(str, np.unravel_index(place, model[name]['shape'])))}]"
        place -= count
    raise AssertionError("beyond the last element")


def fedavg(updates: list[np.ndarray], samples: list[int]) -> np.ndarray:
    """The mean weighted by samples, added in order, in float64, rounded once."""
    total = updates[0].astype(np.float64) * float(samples[0])
    for update, weight in zip(updates[1:], samples[1:], strict=True):
        total += update.astype(np.float64) * float(weight)
    return (total / float(sum(samples))).astype("<f4")


# ----------------------------------------------------------------------------------------------------------- rounds


def millionths(text: str) -> int:
    """A decimal as scores are kept; exact, as those here have six digits at most."""
    whole, _, rest = text.partition(".")
    return int(whole + rest.ljust(6, "0")[:6])


def order(selection: Json, base: str, transcript: bytes) -> Callable[[Json], Any]:
    """What submissions are ordered by, the first first."""

    def key(line: Json) -> Any:
        if selection["name"] == "best_score":
            return -line["score"], line["index"]
        if selection["name"] == "most_samples":
            return -line["samples"], line["index"]
        return hashlib.sha256(parts(base)[1] + transcript + line["index"].to_bytes(4)).digest(), line["index"]

    return key


def derive(store: Path, charter: Json, current: Json) -> tuple[str, Json]:
    """Model and manifest of a round."""
    head, size = header(charter["model"])
    limits, selection = charter["limits"], charter.get("selection")
    least, greatest = millionths(limits["min_score"]), millionths(limits["max_score"])
    first: dict[str, int] = {}
    for line in current["submissions"]:  # In the order of submission.
        line |= {"decision": "included", "reason": "", "detail": "", "weight": 0}
        if line["size"] != size:
            _exclude(line, "wrong_size", f"expected {size} bytes, found {line['size']}")
        elif line["samples"] > limits["max_samples"]:
            _exclude(
                line, "too_many_samples", f"expected at most {limits['max_samples']} samples, found {line['samples']}"
            )
        elif not least <= line["score"] <= greatest:
            _exclude(line, "score_out_of_range", f"expected {least} to {greatest} millionths, found {line['score']}")
        elif charter["duplicates"] == "exclude" and line["update"] in first:
            _exclude(line, "duplicate", f"member {first[line['update']]} submitted the same update before")
        else:
            first.setdefault(line["update"], line["index"])
    candidates = [line for line in current["submissions"] if line["decision"] == "included"]
    if selection is not None:
        ranked = sorted(candidates, key=order(selection, current["base"], current["transcript"]))
        for place, line in enumerate(ranked[selection["count"] :], selection["count"] + 1):
            chosen = f"{selection['name']}: place {place} of {len(ranked)}, {selection['count']} selected"
            line |= {"decision": "not_selected", "detail": chosen}
    arrays, samples, lines = [], [], sorted(current["submissions"], key=lambda line: line["index"])
    for line in lines:
        if line["decision"] != "included":
            continue
        data = read(store, line["update"])
        assert (len(data), address(data)) == (size, line["update"])
        values = np.frombuffer(data, "<f4", offset=len(head))
        if data[: len(head)] != head:
            _exclude(line, "wrong_header", "names, shapes or dtypes are not those that the charter fixes")
        elif not np.isfinite(values).all():
            place = int(np.argmin(np.isfinite(values)))
            _exclude(line, "not_finite", f"{element(charter['model'], place)} is {values[place]}")
        else:
            line["weight"] = line["samples"]
            arrays.append(values)
            samples.append(line["samples"])
    model = address(head + fedavg(arrays, samples).tobytes())
    return model, {
        "format": "fedpact-manifest/1",
        "round": current["round"],
        "charter": current["charter"],
        "base": current["base"],
        "transcript": "0x" + current["transcript"].hex(),
        "rule": charter["rule"]["name"],
        "version": charter["rule"]["version"],
        "submissions": lines,
        "model": model,
        "size": size,
    }


def _exclude(line: Json, reason: str, detail: str) -> None:
    line |= {"decision": "excluded", "reason": reason, "detail": detail}


# ----------------------------------------------------------------------------------------------------------- ledger


def follow(directory: Path) -> Iterator[Json]:
    """Walks a ledger from its first line, and checks every hash, model and manifest.

    Yields:
        Each entry's fields, with what was found.
    """
    first, *lines, last = map(json.loads, (directory / "ledger.jsonl").read_text("utf-8").splitlines())
    assert last == {"entries": len(lines)}
    store = directory / "store"
    here = (first["chain_id"], first["contract"])
    indexes: dict[str, int] = {}
    head = transcript = bytes(28)
    charter = base = ""
    current: Json = {}
    for line in lines:
        event, each, found = line["event"], line["fields"], {}
        if event == "Founded":
            limits = each["limits"]
            bounds = (limits["min_quorum"], limits["min_phase"], limits["max_round"])
            head = keccak(words(*here, each["owner"], each["charter"], each["genesis"], *bounds))
            charter, base = each["charter"], each["genesis"]
        elif event == "MemberAdmitted":
            indexes[each["member"]] = each["index"]
        elif event == "RoundOpened":
            terms = each["terms"]
            times = [terms[name] for name in ("register_by", "commit_by", "submit_by", "publish_by", "quorum")]
            asked = (each["round"], charter, base, each["coordinator"], *times, each["expected"])
            transcript = rolled(head, transcript, *asked)
            current = {"round": each["round"], "charter": charter, "base": base, "submissions": []}
            assert (each["base"], each["transcript"]) == (base, "0x" + transcript.hex())
        elif event == "UpdateSubmitted":
            update = each["update"]
            transcript = rolled(transcript, each["member"], *update_words(update))
            said = {name: update[name] for name in ("samples", "score", "size")}
            line = {"index": indexes[each["member"]], "member": each["member"], "update": update["cid"], **said}
            current["submissions"].append(line)
        elif event == "RoundPublished":
            document = json.loads(read(store, charter))
            assert address(canonical(document)) == charter
            model, manifest = derive(store, document, current | {"transcript": transcript})
            head = keccak(words(head, each["round"], transcript, each["model"], each["manifest"]))
            assert (each["model"], each["manifest"]) == (model, address(canonical(manifest)))
            base = model
            found = {"document": document, "rolled": transcript, "manifest": manifest}
        elif event == "Rewound":
            head, base = keccak(words(head, each["round"], each["base"])), each["base"]
        elif event == "CharterAmended":
            charter = each["charter"]
        if "head" in each:
            assert each["head"] == "0x" + head.hex()
        yield each | {"event": event, "transcript": "0x" + transcript.hex()} | found
