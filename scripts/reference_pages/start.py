"""The first page of the reference: what is where."""

from __future__ import annotations

from reference_pages.markdown import MADE, table


def page() -> str:
    """`docs/reference/README.md`."""
    rows = [
        ["[Commands](commands.md)", "every `fedpact …`: arguments, options, settings, exit codes, examples"],
        ["[Configuration](configuration.md)", "every setting as a flag, a variable and a key of `fedpact.toml`"],
        ["[Charter](charter.md)", "every section and key of the rules that all members agree to"],
        ["[Manifest](manifest.md)", "every field of what says how a round's updates became the model"],
        ["[Audit report](audit-report.md)", "every field of what an audit writes to attest with"],
        ["[Contract](../contract.md)", "every function, event, error and storage slot of the contract"],
        ["[Errors](errors.md)", "every kind of failure, its exit code, and why the contract refuses"],
    ]
    return (
        f"{MADE}\n# Reference\n\n"
        "What everything is called, what it takes, and what it means. It is made from the code, so it is what this "
        "version\ndoes.\n\n"
        + table("page", "what is there", rows=rows)
        + "\nHow rules compute is in [rules](../rules.md), why things are so in "
        "[the decisions](../decisions/README.md).\n"
    )
