"""What a federation left on its chain and in its stores: is it what an undisturbed run leaves?"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from fedpact.artifacts.charter import parse_toml
from fedpact.ledger.events import UpdateSubmitted
from fedpact.ledger.facts import Address
from fedpact.ledger.port import Follower
from fedpact.ledger.view import Status
from fedpact.store.cid import Cid
from fedpact.store.unixfs import address as cid_of

from ordeal.federation import FEDPACT, RECORD, Federation
from ordeal.trainer import contribution

_AUDIT_SECONDS = 120


@dataclass(slots=True)
class Judgement:
    """What was found.

    Attributes:
        rounds: that were published, and their `models`.
        faults: what should not be, a line each.
        transactions: of the services, in blocks.
        reverted: of them, those that failed.
        gas, wasted: used by all of them, and by those that failed.
    """

    rounds: int
    models: list[str]
    transactions: int
    reverted: int
    gas: int
    wasted: int
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def expected_models(federation: Federation, wrong: Mapping[int, Cid] | None = None) -> dict[int, Cid]:
    """The model of every round that was published, averaged from the genesis on without our rules.

    Args:
        wrong: rounds whose models are to be these instead.
    """
    layout = parse_toml(federation.charters[0]).layout()
    base = federation.genesis()
    known = {cid_of(base): layout.decode(base)}
    expected: dict[int, Cid] = {}
    follower = Follower(federation.ledger())
    for number, each in follower.refresh().rounds.items():
        if each.status is not Status.PUBLISHED:
            continue
        if wrong and number in wrong:
            expected[number] = wrong[number]
            continue
        if each.base not in known:
            break  # An earlier round has another model than it should: what follows is of no use.
        members = sorted((each.index, each.member) for each in each.submissions)
        model = _average(known[each.base], [contribution(account, number) for _, account in members])
        expected[number] = cid_of(layout.encode(model))
        known[expected[number]] = model
    return expected


def _average(base: Mapping[str, np.ndarray], contributions: Sequence[tuple[np.float32, int]]) -> dict[str, np.ndarray]:
    """The mean of `base` and each contribution, weighted by samples: in float64, in order, rounded once."""
    model = {}
    for name, array in base.items():
        total = np.zeros(array.shape, np.float64)
        for value, samples in contributions:
            total += (array + value).astype(np.float64) * samples
        model[name] = (total / sum(samples for _, samples in contributions)).astype(np.float32)
    return model


def judge(federation: Federation, *, rounds: int, kills: int = 0, wrong: Mapping[int, Cid] | None = None) -> Judgement:
    """Judges what is on the chain, and what the stores serve.

    Args:
        rounds: that must be published.
        kills: so many times something was cut off or taken back: as many transactions may have failed.
        wrong: as `expected_models`; those rounds must fail the audit, and all others must pass.
    """
    follower = Follower(federation.ledger())
    view = follower.refresh()
    published = {number: each.model for number, each in view.rounds.items() if each.status is Status.PUBLISHED}
    found = Judgement(len(published), [str(model) for model in published.values()], *_spent(federation))
    expected = expected_models(federation, wrong)
    for number, model in published.items():
        if model != expected.get(number):
            found.faults.append(f"round {number}: expected model {expected.get(number)}, found {model}")
    if len(published) != rounds:
        found.faults.append(f"rounds: expected {rounds} published, found {len(published)}")
    if found.reverted > kills:
        found.faults.append(f"reverted transactions: expected at most {kills}, found {found.reverted}")
    events = (entry.event for entry in follower.entries)
    twice = Counter((each.round, each.member) for each in events if isinstance(each, UpdateSubmitted))
    found.faults += [
        f"round {number}: {who} submitted {count} times" for (number, who), count in twice.items() if count > 1
    ]
    found.faults += _audit(federation, wrong or {})
    return found


def _audit(federation: Federation, wrong: Collection[int]) -> list[str]:
    """Has the command derive everything again, from the chain and what the stores serve."""
    stores = [option for each in federation.parties for option in ("--store", each.store)]
    directory = federation.directory / "auditor"
    directory.mkdir()
    asked = ["--rpc", federation.chain.url, "--contract", federation.directory / RECORD, *stores]
    done = subprocess.run(
        [FEDPACT, "audit", *map(str, asked), "--threads", "1", "--json"],
        capture_output=True,
        text=True,
        timeout=_AUDIT_SECONDS,
        cwd=directory,
        check=False,
    )
    if not done.stdout:
        return [f"audit: exit code {done.returncode}: {done.stderr[-1000:]}"]
    answer = json.loads(done.stdout)
    found = {each["round"] for each in answer["findings"]}
    faults = [f"audit: {each}" for each in answer["findings"] if each["round"] not in wrong]
    faults += [f"audit: round {number}: expected to differ, found reproduced" for number in set(wrong) - found]
    expected = answer["rounds"] - len(wrong)
    if answer["reproduced"] != expected or done.returncode != bool(wrong):
        faults.append(
            f"audit: expected {expected} rounds reproduced, found {answer['reproduced']}: {answer['verdict']}"
        )
    return faults


def _spent(federation: Federation) -> tuple[int, int, int, int]:
    """Transactions of the services, those that failed, gas of all, gas of those that failed."""
    ours: set[Address] = {each.account for each in federation.parties}
    receipts = [
        receipt
        for number in range(int(federation.chain.ask("eth_blockNumber"), 16) + 1)
        for receipt in federation.chain.ask("eth_getBlockReceipts", hex(number))
        if receipt["from"] in ours
    ]
    failed = [each for each in receipts if each["status"] != "0x1"]
    return len(receipts), len(failed), _gas(receipts), _gas(failed)


def _gas(receipts: Sequence[Mapping[str, str]]) -> int:
    return sum(int(each["gasUsed"], 16) for each in receipts)
