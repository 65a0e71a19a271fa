"""Writes the reference pages, `docs/reference/`, from the code.

    python scripts/reference.py            write them
    python scripts/reference.py --check    compare with them, byte for byte, and exit 1 where one differs

What the pages say is in the code: the help of commands and options, the docstrings of settings, documents and errors.
Where a word is missing there, the script names the thing and ends.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reference_pages import audit_report, charter, commands, configuration, errors, manifest, start
from reference_pages.markdown import Undocumented

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs/reference"


def pages() -> dict[str, str]:
    """Every page by the name of its file.

    Raises:
        Undocumented: something has no words in the code.
    """
    return {
        "README.md": start.page(),
        "commands.md": commands.page(),
        "configuration.md": configuration.page(),
        "charter.md": charter.page(ROOT),
        "manifest.md": manifest.page(),
        "audit-report.md": audit_report.page(),
        "errors.md": errors.page(ROOT),
    }


def stale(made: dict[str, str]) -> list[str]:
    """The files that are not what the code gives now: other ones, missing ones, left ones."""
    names = made.keys() | {path.name for path in FOLDER.glob("*")}
    found = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")}
    return sorted(name for name in names if made.get(name) != found.get(name))


def main() -> None:
    """Writes or compares, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the pages that are there, write nothing")
    arguments = parser.parse_args()
    try:
        made = pages()
    except Undocumented as error:
        sys.exit(f"reference: {error}")
    changed = stale(made)
    if arguments.check:
        sys.exit(
            f"docs/reference: expected what the code gives, found others: {', '.join(changed)}; run make reference"
            if changed
            else 0
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in made:
            (FOLDER / name).write_text(made[name], "utf-8")
            print(f"wrote docs/reference/{name}")
        else:
            (FOLDER / name).unlink()
            print(f"removed docs/reference/{name}")
    print(f"docs/reference: {len(made)} pages, {len(changed)} changed")


if __name__ == "__main__":
    main()
