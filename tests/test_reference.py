"""The reference is what the code says, and every link in it leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import reference
from fedpact.settings import SETTINGS, flag, variable
from reference_pages.commands import all_commands
from reference_pages.markdown import Undocumented, anchor, attributes, prose, table

PAGES = {path.name: path.read_text("utf-8") for path in reference.FOLDER.glob("*.md")}


def _anchors(text: str) -> set[str]:
    """Where links into a page lead."""
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return {anchor(re.sub(r"[`\[\]]", "", each)) for each in re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)}


def test_the_pages_are_what_the_code_gives() -> None:
    """Otherwise `make reference` writes them again. Whatever lacks words in the code is named, and nothing is made."""
    assert reference.stale(reference.pages()) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    """To a file of the repository, and to a heading in it where it is a page."""
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        file, _, place = target.partition("#")
        path = reference.FOLDER / (file or name)
        assert path.is_file(), target
        if place:
            assert place in _anchors(path.read_text("utf-8")), target


def test_every_option_and_setting_is_there() -> None:
    """Under its command; a setting as a flag, a variable and a key."""
    sections = dict(
        re.findall(r"^##+ (fedpact [a-z -]+)\n(.*?)(?=^##|\Z)", PAGES["commands.md"], re.DOTALL | re.MULTILINE)
    )
    commands = all_commands()
    assert len(commands) > 35
    assert sections.keys() == {each.name for each in commands}
    for command in commands:
        for parameter in command.click.params:
            if parameter.name != "help" and command.settings != list(SETTINGS):
                assert parameter.opts[0] in sections[command.name] or parameter.metavar in sections[command.name]
    for name in SETTINGS:
        row = f"| [`{name}`](#{name}) | `{flag(name)} {SETTINGS[name].metavar}` | `{variable(name)}` |"
        assert row in PAGES["configuration.md"]
        assert f"\n### {name}\n" in PAGES["configuration.md"]


def test_a_page_that_is_other_missing_or_left_over_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is named."""
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    for name in ("same.md", "other.md", "left.md"):
        (tmp_path / name).write_text(name)
    assert reference.stale({"same.md": "same.md", "other.md": "new", "missing.md": "new"}) == [
        "left.md",
        "missing.md",
        "other.md",
    ]


def test_what_has_no_words_is_named() -> None:
    """The class, and what of it."""

    class Silent:
        """Words.

        Attributes:
            one: its words,
                over two lines.
        """

    assert attributes(Silent, ["one"])["one"] == "its words, over two lines."
    with pytest.raises(Undocumented, match=r"Silent: no words under Attributes on two$"):
        attributes(Silent, ["one", "two"])


def test_words_become_markdown_that_says_the_same() -> None:
    """What is typed is set apart, what Markdown would obey is not obeyed, and a bar does not end a cell."""
    assert (
        prose("With --from, `a*b` and <x>*\nof FEDPACT_KEY.") == "With `--from`, `a*b` and &lt;x>\\* of `FEDPACT_KEY`."
    )
    assert table("a", rows=[["x|y"]]) == "| a |\n| --- |\n| x\\|y |\n"
