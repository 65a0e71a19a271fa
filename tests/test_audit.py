"""The audit against whoever changes what a federation left behind; each attack is one test."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from fedpact.artifacts import charter as charters
from fedpact.derivation import derive
from fedpact.ledger.events import RoundPublished, UpdateSubmitted
from fedpact.store.cid import Cid
from fedpact.store.unixfs import add
from fedpact.workdir import audit_directory
from runs import ROUNDS, Copy, fedpact, simulate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished simulation on the real contract."""
    directory = tmp_path_factory.mktemp("audit") / "run"
    simulate(directory)
    return directory


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Copy:
    """A copy of it."""
    return Copy(run, tmp_path / "copy")


@pytest.fixture
def head(run: Path) -> str:
    """The head that the run reported."""
    return str(json.loads((run / "result.json").read_bytes())["head"])


def _model(copy: Copy, number: int) -> Cid:
    model = copy.view.rounds[number].model
    assert model is not None
    return model


def _found(copy: Copy, *arguments: str) -> str:
    """What an audit that finds a difference prints."""
    done = fedpact("audit", copy.path, *arguments)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "DIFFERS" in done.stdout
    assert done.stderr == ""
    return done.stdout


def test_an_untouched_copy_passes(copy: Copy, head: str) -> None:
    """Somewhere else, without the original, with and without a trusted head, every model is reproduced."""
    done = fedpact("audit", copy.path, "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 0
    assert (said["rounds"], said["reproduced"], said["ok"], said["anchored"]) == (ROUNDS, ROUNDS, True, False)
    anchored = fedpact("audit", copy.path, "--head", head)
    assert anchored.returncode == 0
    assert "the record ends with the trusted head" in anchored.stdout


def test_an_audit_changes_nothing(copy: Copy) -> None:
    """It reads, and writes nowhere."""
    before = {path: path.stat().st_mtime_ns for path in copy.path.rglob("*")}
    fedpact("audit", copy.path)
    assert {path: path.stat().st_mtime_ns for path in copy.path.rglob("*")} == before


def test_a_flipped_bit_in_the_stored_model(copy: Copy) -> None:
    """Round, block, the address on the ledger and the one that the bytes have are named."""
    model = _model(copy, 2)
    copy.flip(model)
    found = _found(copy)
    derived = Cid.of(copy.file(model).read_bytes())
    assert (
        f"round 2: model: expected {model}, found other bytes, which hash to {derived}\n" in found
        or f"round 2: model, block 0: expected {model}, found other bytes, which hash to {derived}\n" in found
    )


def test_a_flipped_bit_in_the_exported_model(copy: Copy) -> None:
    """The file that people would take away is checked as well."""
    path = copy.path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)
    assert f"round {ROUNDS}: model.safetensors" in _found(copy)


def test_a_flipped_bit_in_an_update(copy: Copy) -> None:
    """The round and the update's address are named."""
    update = copy.view.rounds[1].submissions[1].update.cid
    copy.flip(update)
    found = _found(copy)
    assert "round 1: update" in found
    assert str(update) in found


def test_a_flipped_bit_in_the_manifest(copy: Copy) -> None:
    """The round and both addresses are named."""
    manifest = copy.view.rounds[3].manifest
    assert manifest is not None
    copy.flip(manifest)
    found = _found(copy)
    assert f"round 3: manifest: expected {manifest}, found other bytes, which hash to " in found


@pytest.mark.parametrize("artifact", ["charter", "genesis"])
def test_a_flipped_bit_in_charter_or_genesis(copy: Copy, artifact: str) -> None:
    """What everything rests on is checked first."""
    copy.flip(getattr(copy.view, artifact))
    assert artifact in _found(copy)


def test_a_manifest_with_another_weight(copy: Copy, head: str) -> None:
    """Weight on the ledger's manifest and derived weight are named, even when every hash was made right."""
    manifest = copy.manifest(2)
    lines = list(manifest.submissions)
    lines[1] = lines[1].model_copy(update={"weight": 100_000})
    copy.replace_manifest(2, manifest.model_copy(update={"submissions": lines}))
    honest = manifest.submissions[1].weight
    assert f"round 2: manifest, submission of member 2, weight: the ledger says 100000, found {honest}" in _found(copy)
    assert "(trusted)" in _found(copy, "--head", head)


def test_a_manifest_that_leaves_a_submission_out(copy: Copy) -> None:
    """The member whose work vanished is named."""
    manifest = copy.manifest(1)
    copy.replace_manifest(1, manifest.model_copy(update={"submissions": manifest.submissions[:2]}))
    assert "round 1: manifest, submission of member 3: the ledger says nothing (the manifest leaves it out)" in _found(
        copy
    )


def test_a_manifest_that_lists_a_submission_twice(copy: Copy) -> None:
    """Repeating a line is another manifest."""
    manifest = copy.manifest(1)
    twice = [*manifest.submissions, manifest.submissions[0]]
    copy.replace_manifest(1, manifest.model_copy(update={"submissions": twice}))
    assert "round 1: manifest, submissions: the ledger says another order or a repetition" in _found(copy)


def test_an_exclusion_without_a_cause(copy: Copy) -> None:
    """A coordinator cannot drop a member and prove it; and what it only asserts is listed apart."""
    manifest = copy.manifest(1)
    lines = list(manifest.submissions)
    change = {"decision": "excluded", "weight": 0, "reason": "not_finite", "detail": "coef0[0, 0] is nan"}
    lines[0] = lines[0].model_copy(update=change)
    copy.replace_manifest(1, manifest.model_copy(update={"submissions": lines}))
    assert "submission of member 1, decision: the ledger says excluded, found included" in _found(copy)


def test_an_asserted_exclusion_is_named_even_where_the_model_follows(copy: Copy) -> None:
    """That an update was not to be had is the coordinator's word alone; the model still has to follow from the rest."""
    manifest = copy.manifest(1)
    lines = list(manifest.submissions)
    change = {
        "decision": "excluded",
        "weight": 0,
        "reason": "unavailable",
        "detail": "could not be fetched by the coordinator",
    }
    lines[0] = lines[0].model_copy(update=change)
    copy.replace_manifest(1, manifest.model_copy(update={"submissions": lines}))
    said = json.loads(fedpact("audit", copy.path, "--json").stdout)
    assert said["asserted"] == {"1": [1]}
    assert any(finding["what"] == "model" for finding in said["findings"])


def test_a_member_left_out_on_the_coordinators_word_alone_is_named(copy: Copy) -> None:
    """A model that follows from the others is reproduced; what was only asserted is said in the verdict."""
    current = copy.view.rounds[ROUNDS]
    charter = charters.fetch(copy.blocks, current.charter)
    derived = derive(current, charter, copy.blocks, into=copy.blocks, asserted={1})
    assert derived.model is not None
    copy.republish(ROUNDS, derived.model.root, add(copy.blocks, derived.manifest.encode()).root)
    (copy.path / "result.json").unlink()
    done = fedpact("audit", copy.path)
    assert f"round {ROUNDS}: the update of member 1 was left out as unavailable, and is here" in done.stdout
    assert "updates left out on the coordinator's word alone: 1" in done.stdout
    assert "the run did not finish" in done.stdout


def test_a_record_without_rounds_vouches_for_no_model(copy: Copy) -> None:
    """A model beside a ledger that published none is a finding."""
    copy.rewrite(lambda entries: entries[:5])
    assert "model.safetensors: the ledger says no model" in _found(copy)


@pytest.mark.parametrize("name", ["result.json", "model.safetensors", "ledger.jsonl"])
def test_what_is_no_file_does_not_stop_an_audit(copy: Copy, name: str) -> None:
    """A pipe in a file's place is named, and not waited for."""
    (copy.path / name).unlink()
    os.mkfifo(copy.path / name)
    done = fedpact("audit", copy.path, timeout=60)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_text_that_a_terminal_would_obey_is_not_passed_on(copy: Copy) -> None:
    """A report full of escape sequences cannot write its own verdict."""
    path = copy.path / "result.json"
    said = json.loads(path.read_bytes())
    said["model"] = "\x1b[2J\x1b[H\x85audit: ok \ud800"
    path.write_text(json.dumps(said), "utf-8")
    assert "\x1b" not in _found(copy)


def test_every_entry_that_is_removed(copy: Copy, head: str) -> None:
    """Whichever line is taken out of the ledger, numbered anew or not."""
    path = copy.path / "ledger.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    for index in range(1, len(lines) - 1):
        path.write_text("".join(lines[:index] + lines[index + 1 :]), "utf-8")
        assert audit_directory(copy.path).audit.exit_code == 1, lines[index]
        copy.rewrite(lambda entries, gone=index - 1: entries[:gone] + entries[gone + 1 :])  # type: ignore[misc]
        assert audit_directory(copy.path).audit.exit_code == 1, lines[index]
    assert "DIFFERS" in _found(copy, "--head", head)


def test_the_last_round_cut_off(copy: Copy, head: str) -> None:
    """A record that ends earlier is consistent in itself: the trusted head shows that something is missing."""
    published = [index for index, entry in enumerate(copy.record.entries) if isinstance(entry.event, RoundPublished)]
    copy.rewrite(lambda entries: entries[: published[-2] + 1])
    for name in ("model.safetensors", "result.json"):
        (copy.path / name).unlink()
    file = copy.file(_model(copy, ROUNDS - 1))
    shutil.copy(file, copy.path / "model.safetensors")
    assert fedpact("audit", copy.path).returncode == 0
    assert f"head: expected {head} (trusted), found 0x" in _found(copy, "--head", head)


def test_a_publication_of_another_valid_model(copy: Copy) -> None:
    """The ledger says one model, the updates another: round, block and both addresses are named."""
    other = _model(copy, 1)
    manifest = copy.view.rounds[2].manifest
    assert manifest is not None
    copy.republish(2, other, manifest)
    found = _found(copy)
    assert f"round 2: model: the ledger says {other}, found {_model(copy, 2)}" in found
    assert f"round 2: model, block 0: the ledger says {other}, found {_model(copy, 2)}" in found


def test_a_publication_replaced_without_care(copy: Copy) -> None:
    """The entry at which the hashes part is named."""
    copy.rewrite(
        lambda entries: [
            entry
            if not isinstance(entry.event, RoundPublished) or entry.event.round != 2
            else type(entry)(
                entry.block,
                entry.time,
                entry.transaction,
                entry.position,
                type(entry.event)(
                    entry.event.round,
                    entry.event.coordinator,
                    entry.event.transcript,
                    _model(copy, 1),
                    entry.event.manifest,
                    entry.event.head,
                ),
            )
            for entry in entries
        ]
    )
    assert "RoundPublished" in _found(copy)


def test_a_report_that_claims_another_model(copy: Copy) -> None:
    """The result file is not believed."""
    path = copy.path / "result.json"
    said = json.loads(path.read_bytes())
    said["model"] = str(_model(copy, 1))
    path.write_text(json.dumps(said), "utf-8")
    assert "result.json, model" in _found(copy)


@pytest.mark.parametrize("which", ["update", "manifest", "model"])
def test_a_missing_block_is_unchecked_and_not_reproduced(copy: Copy, which: str) -> None:
    """Exit code 2, with the block and the reason; the other rounds are still checked."""
    current = copy.view.rounds[2]
    cid = current.submissions[0].update.cid if which == "update" else getattr(current, which)
    copy.file(cid).unlink()
    done = fedpact("audit", copy.path, "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 2
    assert (said["reproduced"], said["ok"]) == (ROUNDS - 1, False)
    assert [line for line in said["unchecked"] if line.startswith("round 2: ") and str(cid) in line]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: text.replace('"block"', '"blok"', 1), "block"),
        (lambda text: "", "expected the first line"),
        (lambda text: text.replace("fedpact-ledger/1", "fedpact-ledger/9"), "fedpact-ledger/1"),
    ],
)
def test_a_damaged_ledger_cannot_be_checked(copy: Copy, damage: object, says: str) -> None:
    """Exit code 2 and one clear line."""
    path = copy.path / "ledger.jsonl"
    path.write_text(damage(path.read_text("utf-8")), "utf-8")  # type: ignore[operator]  # One of the functions above.
    done = fedpact("audit", copy.path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("head", ["0x12", "zz", "0x" + "g" * 64])
def test_a_head_that_is_none(copy: Copy, head: str) -> None:
    """It is refused before anything is read."""
    done = fedpact("audit", copy.path, "--head", head)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "expected 0x and 64 hexadecimal digits" in done.stderr


def test_a_directory_without_a_federation(tmp_path: Path) -> None:
    """What is there instead is said."""
    (tmp_path / "notes.txt").write_text("hello")
    for directory, says in (
        (tmp_path, "notes.txt"),
        (tmp_path / "none", "expected a directory that a simulation left, found none"),
    ):
        done = fedpact("audit", directory)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert says in done.stderr


def test_submissions_are_in_the_record(copy: Copy) -> None:
    """Every submission was a transaction of its own, with block and hash."""
    submitted = [entry for entry in copy.record.entries if isinstance(entry.event, UpdateSubmitted)]
    assert len({entry.transaction for entry in submitted}) == len(submitted) == 3 * ROUNDS
