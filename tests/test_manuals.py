"""Every page of the documentation: what it tells to type is typed, what it links to is there, and none is left out."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from anvil import NODES, ask
from click import Context
from fedpact.cli.application import application
from manuals import Block, Command, Reader, blocks, match
from web3 import Web3

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("README.md")])
GENERATED = "docs/reference/"
"""Pages below it are written from the code, and held against it by a test of their own."""
TUTORIAL = "docs/tutorial.md"
AFTER_THE_TUTORIAL = [
    "docs/how-to/private-chain.md",
    "docs/how-to/audit-as-an-outsider.md",
    "docs/how-to/recover-a-lost-store.md",
    "docs/how-to/rotate-a-key.md",
    "docs/how-to/replace-a-coordinator.md",
    "docs/how-to/move-to-a-new-contract.md",
]
"""Pages that go on where the tutorial ends: typed by `make test-nodes`, each as if it were the first."""
ELSEWHERE = {
    "README.md": "test_readme.py",
    "docs/how-to/real-deployment.md": "test_running.py",  # systemd, podman and Kubo are not everywhere.
    "docs/how-to/your-own-model.md": "test_trainer_page.py",
    "docs/how-to/your-own-rule.md": "test_registry.py",
    "docs/attacks.md": "test_attacks.py",
}
"""Pages that a test file of their own types, or whose commands it holds against those that there are."""


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _indented(text: str) -> list[str]:
    """The commands in a page's indented blocks."""
    unfenced = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    return re.findall(r"^ {4}(?:\$ )?((?:fedpact|python|pip|podman|ipfs|make) .*)$", unfenced, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_pages_commands_are_typed_by_a_test(page: Path) -> None:
    """A page with commands that nobody types is not to be trusted."""
    text, name = page.read_text("utf-8"), _name(page)
    if name.startswith(GENERATED) or not (_indented(text) or any(not each.file for each in blocks(text))):
        return
    if name in (TUTORIAL, *AFTER_THE_TUTORIAL):
        assert not _indented(text), "commands that are not in a fenced block are not typed"
        return
    wanted = name if not name.startswith("examples/") else str(Path(name).parent)
    tests = (
        [Path(__file__).with_name(ELSEWHERE[name])] if name in ELSEWHERE else Path(__file__).parent.glob("test_*.py")
    )
    assert any(wanted in test.read_text("utf-8") for test in tests if test != Path(__file__)), name


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_pages_commands_are_those_that_there_are(page: Path) -> None:
    """Of commands that stand for themselves, in indented blocks: their names and options."""
    for line in _indented(page.read_text("utf-8")):
        words = shlex.split(line, comments=True)
        if words[0] == "fedpact":
            given = {each.partition("=")[0] for each in words if each.startswith("--")}
            assert given <= _options(words[1:]), line


def _options(words: list[str]) -> set[str]:
    """What a command takes that is called by its name, or the names of a group and one of its own."""
    command: Any = typer.main.get_command(application())
    while hasattr(command, "get_command"):
        name, *words = words
        found = command.get_command(Context(command), name)
        assert found is not None, f"{name} is no command"
        command = found
    return {option for each in command.params for option in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    """Files, and headings in them."""
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target.read_text("utf-8")), link


def _anchors(text: str) -> set[str]:
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_index_names_every_page() -> None:
    """One line a page, or a folder that has an index of its own."""
    index = (DOCS / "README.md").read_text("utf-8")
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in re.findall(r"\]\(([^)\s]+)\)", index)}
    indexed = {page.parent for page in DOCS.rglob("README.md")} - {DOCS}
    wanted = {page for page in DOCS.rglob("*.md") if page.name == "README.md" or page.parent not in indexed}
    assert wanted - {DOCS / "README.md"} <= linked


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has done the tutorial, with anvil: its chain can go back."""
    with pytest.MonkeyPatch.context() as patch, Reader(tmp_path_factory.mktemp("tutorial")) as reader:
        patch.setenv("FEDPACT_ANVIL", str(NODES / ".bin/anvil"))
        reader.read((ROOT / TUTORIAL).read_text("utf-8"))
        yield reader


@pytest.mark.nodes
@pytest.mark.parametrize("name", AFTER_THE_TUTORIAL)
def test_what_a_page_prints(learned: Reader, name: str, tmp_path: Path) -> None:
    """Typed as it stands, right after the tutorial. Then chain and folder are as they were."""
    web3 = Web3(Web3.HTTPProvider("http://127.0.0.1:8545"))
    mine = learned.directory / "mine"
    shutil.copytree(mine, tmp_path / "mine")
    before = ask(web3, "evm_snapshot")
    learned.read((ROOT / name).read_text("utf-8"))
    assert ask(web3, "evm_revert", before)
    for each in mine.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    shutil.copytree(tmp_path / "mine", mine, dirs_exist_ok=True)


# ------------------------------------------------------------------------------------------------------- the reader


def test_a_page_is_read_as_it_says() -> None:
    """Commands with what they print, terminals, scripts and files."""
    page = (
        "```console\n# terminal 2: me\n$ a <<END\n> b\n> END\nc\n…\n```\n\n"
        "Save as `x/y.py`:\n\n```python\npass\n```\n\n```python\nnot saved\n```\n\n```sh\nd\ne\n```\n"
    )
    first, file, script = blocks(page)
    assert (first.terminal, first.commands()) == ("terminal 2", [Command("a <<END\nb\nEND", ["c", "…"])])
    assert file == Block("python", "pass\n", file="x/y.py")
    assert "d\ne" in script.commands()[0].typed


def test_what_may_vary_varies_and_nothing_else() -> None:
    """Lines and words that are left out, addresses, figures; what stands for what is remembered."""
    one, other = "0x" + "ab" * 32, "0x" + "12" * 32
    assert match(["x", f"head {one}"], ["…", f"head {other}"]) == {other: one}
    assert match(["gas: 1,234"], ["gas: 9,999"]) == {}
    assert match(["took 3 s, well"], ["took … s, well"]) == {}
    for printed, promised in ([["a"], ["b"]], [["a", "b"], ["a"]], [["round 3"], ["round 4"]], [[], ["a"]]):
        assert match(printed, promised) is None


def test_a_reader_types_into_terminals(tmp_path: Path) -> None:
    """Directories and variables stay; what runs on is waited for, or interrupted; what fails is noticed."""
    page = (
        "```console\n# terminal 1\n$ mkdir a && cd a && export B=7\n$ echo one; sleep 60\none\n…\n```\n"
        "```console\n# terminal 2\n$ pwd -P | sed 's#.*/##'\n"
        f"{tmp_path.name}\n$ echo $B\n\n$ sleep 0.3; echo here\n…\n```\n"
        "```console\n# terminal 2 again\nhere\n```\n"
    )
    with Reader(tmp_path) as reader:
        reader.read(page)
        reader.read("```sh\n# terminal 2\nfalse || true\ntrue\n```\n")
        with pytest.raises(AssertionError, match="exit code 3"):
            reader.read("```console\n$ (exit 3)\n```\n")
        with pytest.raises(AssertionError, match="promised"):
            reader.read("```console\n$ echo 1\n2\n```\n")
        with pytest.raises(AssertionError, match="the shell ended"):
            reader.read("```sh\n# terminal 3\nfalse\n```\n")


def test_what_runs_is_interrupted(tmp_path: Path) -> None:
    """As Ctrl-C does: the shell goes on."""
    page = "```console\n# terminal 1\n$ export A=1; sleep 60\n…\n```\n```console\n# terminal 1\n^C\n$ echo $A\n1\n```\n"
    with Reader(tmp_path) as reader:
        reader.read(page)
