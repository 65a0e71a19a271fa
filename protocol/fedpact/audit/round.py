"""One round: its stored model, its manifest, and what its updates become."""

from __future__ import annotations

from collections.abc import Sequence

from fedpact.artifacts import manifest as manifests
from fedpact.artifacts import moments
from fedpact.artifacts.charter import Charter
from fedpact.artifacts.manifest import Line, Manifest
from fedpact.audit.findings import Finding, RoundAudit, Scope, damage
from fedpact.derivation import Derivation, Sample, derive, selection_in
from fedpact.errors import (
    ContentError,
    FedpactError,
    InvalidStart,
    NotInstalled,
    RecordInconsistent,
    RuleFailed,
    StoreError,
    WrongArithmetic,
)
from fedpact.ledger.view import Round
from fedpact.rules.rule import Blockwise
from fedpact.store.blocks import Blocks, Discard, fetch
from fedpact.store.cid import Cid
from fedpact.store.transfer import at_once, in_order
from fedpact.store.unixfs import leaf_count, open_file


def audit_round(
    current: Round, charter: Charter | None, blocks: Blocks, *, scope: Scope | None = None, threads: int = 1
) -> RoundAudit:
    """Derives one published round again, or what the scope has of it, and compares.

    Args:
        charter: the one in force when the round opened; none where it could not be read.
        threads: leaves that are worked on at once.
    """
    if current.model is None or current.manifest is None:
        raise RecordInconsistent(f"round {current.number}: published without a model")
    each = RoundAudit(current.number, current.model)
    if charter is None:
        each.unchecked = f"its charter {current.charter} could not be read"
        return each
    try:
        each.blocks = leaf_count(charter.layout().size)
        leaves = None if scope is None else scope.leaves(current.number, each.blocks)
        _check_stored("model", current.model, charter.layout().size, blocks, each, threads, leaves)
        published = _read_manifest(current, current.manifest, blocks, each)
        if published is not None:
            _compare(current, charter, published, blocks, threads, each, leaves)
    except (StoreError, NotInstalled, RuleFailed, WrongArithmetic) as error:
        each.unchecked = str(error)
    except InvalidStart as error:  # What the rounds before left.
        each.findings.append(Finding(current.number, error.what, error.address, error.found))
    except FedpactError as error:  # An update whose bytes are not those of its address.
        each.findings.append(Finding(current.number, "update", "an update of which the bytes are there", str(error)))
    return each


def _check_stored(
    what: str, root: Cid, size: int, blocks: Blocks, each: RoundAudit, threads: int, leaves: Sequence[int] | None = None
) -> None:
    """A stored artifact must be whole, or these leaves of it; that it is the *right* one shows when it is derived."""
    try:
        file = open_file(blocks, root, size)
    except ContentError as error:
        each.findings.append(Finding(each.number, what, str(root), damage(root, error)))
        return

    def check(index: int) -> Finding | None:
        leaf = file.leaves[index]
        try:
            fetch(blocks, leaf)
        except ContentError as error:
            return Finding(each.number, f"{what}, block {index}", str(leaf), damage(leaf, error))
        return None

    indexes = range(len(file.leaves)) if leaves is None else leaves
    for finding in in_order(check, indexes, max(threads, at_once(blocks))):
        if finding is not None:
            each.findings.append(finding)


def _check_stored_state(derived: Manifest, charter: Charter, blocks: Blocks, each: RoundAudit, threads: int) -> None:
    """The state that the next round goes on from must be whole, too."""
    if derived.optimiser is not None:
        size = moments.layout_for(charter.layout()).size
        for name, address in derived.optimiser.state.items():
            _check_stored(f"state, {name}", Cid.parse(address), size, blocks, each, threads)


def _read_manifest(current: Round, cid: Cid, blocks: Blocks, each: RoundAudit) -> Manifest | None:
    try:
        return manifests.fetch(blocks, cid, len(current.submissions))
    except ContentError as error:
        each.findings.append(Finding(current.number, "manifest", str(cid), damage(cid, error)))
        return None


def _compare(
    current: Round,
    charter: Charter,
    published: Manifest,
    blocks: Blocks,
    threads: int,
    each: RoundAudit,
    leaves: Sequence[int] | None,
) -> None:
    asserted = {line.index for line in published.submissions if line.reason == manifests.ASSERTED}
    sample = None if leaves is None else Sample(leaves, published)
    try:
        derived = derive(current, charter, blocks, into=Discard(), asserted=asserted, sample=sample, threads=threads)
    except FedpactError:  # Who was selected follows from the ledger, even where those updates are not in the store.
        each.findings += _compare_selections(current, charter, published)
        raise
    each.derived = len(derived.leaves)
    if sample is not None:
        each.sampled = True
        each.surveyed = not isinstance(charter.make_rule(), Blockwise)
    manifest = derived.manifest
    each.included = len(manifest.included)
    each.asserted = [line.index for line in manifest.excluded if line.reason == manifests.ASSERTED]
    each.present = [line.index for line in manifest.excluded if line.index in asserted and _is_here(blocks, line)]
    each.not_selected = len(manifest.not_selected)
    each.rejected = [line.index for line in manifest.excluded if line.reason != manifests.ASSERTED]
    number = current.number
    each.findings += _compare_lines(number, published, manifest)
    fields = ["round", "charter", "base", "transcript", "rule", "version", "size"]
    for name in fields if sample is not None else [*fields, "model"]:
        said, found = getattr(published, name), getattr(manifest, name)
        if said != found:
            each.findings.append(Finding(number, f"manifest, {name}", str(said), str(found)))
    each.findings += _compare_states(number, published, manifest)
    if sample is not None and published.model != str(current.model):
        each.findings.append(Finding(number, "manifest, model", str(current.model), published.model))
    if not derived.leaves:
        each.findings.append(Finding(number, "model", str(current.model), "too few usable updates for a model"))
    elif derived.model is None or derived.model.root != current.model:
        each.findings += _compare_models(current, derived, blocks)
    if published.optimiser == manifest.optimiser and sample is None:
        _check_stored_state(manifest, charter, blocks, each, threads)


def _is_here(blocks: Blocks, line: Line) -> bool:
    try:
        open_file(blocks, Cid.parse(line.update), line.size).leaf(0)
    except FedpactError:
        return False
    return True


def _compare_selections(current: Round, charter: Charter, published: Manifest) -> list[Finding]:
    """Whom the manifest selects, and whom the charter does."""
    selection = selection_in(current, charter)
    findings = []
    for index, said in sorted({line.index: line.decision for line in published.submissions}.items()):
        if (said == "not_selected") != (index in selection.not_selected):
            found = "not_selected" if index in selection.not_selected else "no candidate"
            found = "selected" if index in selection.selected else found
            findings.append(Finding(current.number, f"manifest, submission of member {index}, decision", said, found))
    return findings


def _compare_lines(number: int, published: Manifest, derived: Manifest) -> list[Finding]:
    """Submission by submission, field by field."""
    findings = []
    said = {line.index: line for line in published.submissions}
    found = {line.index: line for line in derived.submissions}
    for index in sorted(said.keys() | found.keys()):
        what = f"manifest, submission of member {index}"
        if index not in said:
            findings.append(Finding(number, what, "nothing (the manifest leaves it out)", found[index].update))
        elif index not in found:
            findings.append(Finding(number, what, said[index].update, "no such submission on the ledger"))
        else:
            for name in Line.model_fields:
                one, other = getattr(said[index], name), getattr(found[index], name)
                if one != other:
                    findings.append(Finding(number, f"{what}, {name}", str(one), str(other)))
    if not findings and published.submissions != derived.submissions:
        findings.append(Finding(number, "manifest, submissions", "another order or a repetition", "by index, once"))
    return findings


def _compare_states(number: int, published: Manifest, derived: Manifest) -> list[Finding]:
    """What the optimiser remembers, moment by moment."""
    one, other = published.optimiser, derived.optimiser
    said, found = ("none" if each is None else f"{each.name[:80]} {each.version}" for each in (one, other))
    if one is None or other is None or said != found:
        return [] if said == found else [Finding(number, "manifest, optimiser", said, found)]
    if one.state.keys() != other.state.keys():
        names = [", ".join(sorted(each.state))[:200] or "none" for each in (one, other)]
        return [Finding(number, "manifest, optimiser, moments", *names)]
    pairs = [(name, one.state[name], other.state[name]) for name in sorted(other.state)]
    unlike = "other values in the blocks looked at"  # A sample has no address of its own.
    differ = [pair for pair in pairs if pair[1] != pair[2] or not pair[2]]
    return [Finding(number, f"state, {name}", said, found or unlike) for name, said, found in differ]


def _compare_models(current: Round, derived: Derivation, blocks: Blocks) -> list[Finding]:
    """Which blocks of the published model are not those derived."""
    number, model, size = current.number, current.model, derived.manifest.size
    findings = [] if derived.model is None else [Finding(number, "model", str(model), str(derived.model.root))]
    try:
        leaves = open_file(blocks, model, size).leaves if model is not None else ()
    except FedpactError:
        return findings  # It was named already.
    pairs = [(index, leaves[index], found) for index, found in sorted(derived.leaves.items())]
    different = [pair for pair in pairs if pair[1] != pair[2]]
    return findings + [Finding(number, f"model, block {index}", str(a), str(b)) for index, a, b in different[:10]]
