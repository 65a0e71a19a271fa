"""What a request to a trustless gateway asks for, and what an answer to it says of itself. Nothing is read here.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from starlette.requests import Request

from fedpact.errors import InvalidCid
from fedpact.store.cid import Cid

RAW = "application/vnd.ipld.raw"
CAR = "application/vnd.ipld.car"
PROBE = "bafkqaaa"
"""The identity CID of nothing, by which clients find out whether there is a gateway."""
_FORMATS = {"raw": RAW, "car": CAR}
_FOREVER = "max-age=29030400, immutable"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Attributes:
        cid: of what; none where it is `PROBE`.
        form: the media type.
        once: whether a block that repeats is left out of a CAR.
        scope: what a CAR is to hold. What is served here are files, of which `entity` and `all` are the same.
    """

    cid: Cid | None
    form: str
    once: bool = False
    scope: Literal["all", "entity", "block"] = "all"

    @property
    def etag(self) -> str:
        """What names this answer, and no other."""
        name = self.cid or PROBE
        return f'"{name}.raw"' if self.form == RAW else f'W/"{name}.car.{self.scope}.{self._dups}"'

    def known_to(self, client: str) -> bool:
        """Whether a client has the answer already, by its header `If-None-Match`."""
        tags = [each.strip().removeprefix("W/") for each in client.split(",")]
        return self.etag.removeprefix("W/") in tags

    def headers(self, *, private: bool) -> dict[str, str]:
        """The headers of the answer.

        Args:
            private: whether no cache that others use may keep it.
        """
        name, raw = self.cid or PROBE, self.form == RAW
        return {
            "Content-Type": RAW if raw else f"{CAR}; version=1; order=dfs; dups={self._dups}",
            "Content-Disposition": f'attachment; filename="{name}.{"bin" if raw else "car"}"',
            "Accept-Ranges": "none",
            "Cache-Control": f"{'private' if private else 'public'}, {_FOREVER}",
            "Etag": self.etag,
            "Vary": "Accept, Authorization" if private else "Accept",
            "X-Content-Type-Options": "nosniff",
            "X-Ipfs-Path": f"/ipfs/{name}",
        }

    @property
    def _dups(self) -> str:
        return "n" if self.once else "y"


class Refused(Exception):
    """A request that is answered with a status other than 200.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def read(request: Request) -> Asked:
    """What a request asks for.

    Raises:
        Refused: nothing that is offered.
    """
    text = request.path_params["cid"]
    try:
        cid = None if text == PROBE else Cid.parse(text)
    except InvalidCid as error:
        raise Refused(400, str(error)) from None
    query = request.query_params
    form, parameters = _accepted(request.headers.get("accept", ""))
    if "format" in query:  # It wins over the header.
        parameters = parameters if form == _FORMATS.get(query["format"]) else {}
        form = _FORMATS.get(query["format"], "")
    parameters |= {name.removeprefix("car-"): value for name, value in query.items() if name.startswith("car-")}
    if form == RAW:
        return Asked(cid, form)
    scope = query.get("dag-scope", "all")
    if scope not in ("all", "entity", "block") or "entity-bytes" in query:
        raise Refused(400, "expected dag-scope=all, entity or block, and no entity-bytes")
    # Who does not say whether blocks are to repeat gets each once, as the specification says.
    asked = [parameters.get("version", "1"), parameters.get("order", "dfs"), parameters.get("dups", "n")]
    offered = [("1",), ("dfs", "unk"), ("y", "n")]
    if form != CAR or any(each not in known for each, known in zip(asked, offered, strict=True)):
        expected = f"?format=raw or ?format=car, or Accept: {RAW} or {CAR}; version=1; order=dfs; dups=y"
        told = "format" in query or "accept" in request.headers
        raise Refused(406 if told else 400, f"expected {expected}")
    return Asked(cid, form, once=asked[2] == "n", scope=cast(Literal["all", "entity", "block"], scope))


def _accepted(header: str) -> tuple[str, dict[str, str]]:
    """The first media type in an Accept header that is offered, and its parameters; nothing where none is."""
    for each in header.split(","):
        name, *rest = (part.strip().lower() for part in each.split(";"))
        if name in _FORMATS.values():
            return name, dict(part.split("=", 1) for part in rest if "=" in part)
    return "", {}
