"""`fedpact example`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def example(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    silos: Annotated[int, typer.Option(metavar="N", min=2, max=50, help="How many silos.")] = 2,
) -> None:
    """Make a folder to try a real federation with: a charter, data of several silos, and settings for each process.

    The README goes through it: keys, a chain, a contract, a coordinator and silos, an audit.

    \b
    Example:
      fedpact example trial
    """
    from fedpact_simulation.example import write_example

    for path in write_example(directory, silos):
        typer.echo(path)
