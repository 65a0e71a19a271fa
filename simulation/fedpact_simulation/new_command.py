"""`fedpact new` and `fedpact example`: a folder to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_Silos = Annotated[int, typer.Option(metavar="N", min=2, max=50, help="How many silos.")]


def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="What the model is made with: scikit-learn, numpy or torch.")
    ] = "scikit-learn",
    silos: _Silos = 2,
) -> None:
    """Make a folder to train your own model from: a trainer, a charter, data of several silos, settings, a README.

    It works as it is, with handwritten digits: fedpact simulate DIR runs it at once. Then put in your data and model.

    \b
    Examples:
      fedpact new mine && fedpact simulate mine
      fedpact new mine --kind torch --silos 4
    """
    from fedpact_simulation.new import next_steps, write_project

    write_project(directory, kind, silos)
    typer.echo("\n".join(next_steps(directory)))


def example(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")], silos: _Silos = 2
) -> None:
    """Make a folder to try a real federation with: a charter, data of several silos, and settings for each process.

    The README goes through it: keys, a chain, a contract, a coordinator and silos, an audit. It has no code of its own;
    fedpact new makes one that has.

    \b
    Example:
      fedpact example trial
    """
    from fedpact_simulation.new import TABLE, write_project

    for path in write_project(directory, TABLE, silos):
        typer.echo(path)
