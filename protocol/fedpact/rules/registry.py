"""Where rules come from: fedpact itself, and packages that are installed beside it.

A package offers a rule through an entry point of the group `fedpact.rules`: NAME = MODULE:CLASS. Its name has a dot, as
no name of fedpact's own ever has. A charter names such a rule with the sha256 of the module's file, and that hash only
chooses among the files that entry points lead to: no text of a charter is ever imported.

The bytes that were hashed are the bytes that run, not what Python compiled of them before. A hash is of one file:
whatever else the module imports, its package's `__init__` included, is the installation's own.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from fedpact.errors import FedpactError, NotInstalled
from fedpact.rules.rule import Parameters
from fedpact.suggestion import did_you_mean
from fedpact.version import fedpact_version

NAME = re.compile(r"[a-z][a-z0-9_]{0,49}(\.[a-z][a-z0-9_]{0,49}){0,4}")
"""A name of fedpact's own, or with a dot that of somebody else's."""


class Named(Protocol):
    """What charters name."""

    name: ClassVar[str]
    version: ClassVar[int]

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        """Raises CharterError."""
        ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True, slots=True)
class Offer(Generic[T]):
    """A class that charters can name.

    Attributes:
        what: its kind and name, for errors.
        package: the package that it comes from, with its version; none for fedpact's own.
        file: the file that defines it; none for fedpact's own.
        code: the sha256 of that file as a charter has it.
    """

    what: str
    implementation: type[T]
    package: str | None = None
    file: Path | None = None
    code: str | None = None

    def make(self, parameters: Parameters) -> T:
        """One of these.

        Raises:
            NotInstalled: its code does not work.
            CharterError: it cannot work with these parameters.
        """
        try:
            return self.implementation.of(parameters)
        except FedpactError:
            raise
        except Exception as error:
            raise NotInstalled(f"{self.what}: parameters: {_in_words(error)} (in {self.file})") from error

    def named(self) -> dict[str, str | int]:
        """How a charter names it."""
        code = {} if self.code is None else {"code": self.code}
        return {"name": self.implementation.name, "version": self.implementation.version, **code}

    @property
    def origin(self) -> str:
        """The package that it comes from, with its version."""
        return self.package or f"fedpact {fedpact_version()}"

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (inspect.getdoc(self.implementation) or "").partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Unusable:
    """An entry point that leads to nothing that a charter could name."""

    name: str
    origin: str
    reason: str


class Registry(Generic[T]):
    """Everything of one kind that a charter can name.

    Args:
        kind: `rule`; the group of entry points is `fedpact.rules`.
        base: what a class must be a subclass of.
        own: fedpact's own classes by name.
    """

    def __init__(self, kind: str, base: type[Any], own: Mapping[str, type[T]]) -> None:
        self._kind = kind
        self._base = base
        self._own = own
        self.group = f"fedpact.{kind}s"

    def make(self, name: str, wanted: int, code: str | None, parameters: Parameters) -> T:
        """What a charter names.

        Raises:
            NotInstalled: it is not installed here, or not this version or code, or is broken.
            CharterError: it cannot work with these parameters.
        """
        offer = self._of_package(name, wanted, code) if code is not None else self._of_fedpact(name, wanted)
        return offer.make(parameters)

    def installed(self, name: str) -> Offer[T]:
        """What a name stands for in this installation.

        Raises:
            NotInstalled: nothing, or more than one thing.
        """
        if name in self._own:
            return self._offer_own(self._own[name])
        files = {file.code: file for file in self._files(name)}
        if len(files) > 1:
            found = " and ".join(file.origin for file in files.values())
            raise NotInstalled(f"{self._kind}: expected one package that offers {name}, found {found}")
        if not files:
            others = sorted({entry.name for entry in self._entries() if _is_foreign(entry.name)})
            known = [*self._own, *others]
            near = did_you_mean(name, known)
            raise NotInstalled(f"{self._kind}: expected one of {', '.join(known)}, found {name[:80]!r}{near}")
        (file,) = files.values()
        return self._offer(file)

    def all(self) -> tuple[list[Offer[T]], list[Unusable]]:
        """What charters can name here, and what is in the way of the rest. The code of all packages is run."""
        offers = self.own()
        unusable = []
        for entry in sorted(self._entries(), key=lambda each: each.name):
            try:
                if not _is_foreign(entry.name):
                    expected = f"expected lower-case letters, digits and _ with a dot, found {entry.name[:80]!r}"
                    raise NotInstalled(f"{self._kind}: name: {expected}")
                offers.append(self._offer(_File.of(self._kind, entry)))
            except NotInstalled as error:
                unusable.append(Unusable(entry.name, _origin(entry), str(error)))
        return offers, unusable

    def own(self) -> list[Offer[T]]:
        """What charters can name in every installation of this fedpact."""
        return [self._offer_own(each) for each in self._own.values()]

    def _of_fedpact(self, name: str, wanted: int) -> Offer[T]:
        found = self._own.get(name)
        if found is None:
            known, near = ", ".join(self._own), did_you_mean(name, self._own)
            raise NotInstalled(
                f"{self._kind}.name: expected one of {known}, found {name[:80]!r}"
                + (near or "; another fedpact may have it")
            )
        if wanted != found.version:
            expected = f"expected {found.version}, found {str(wanted)[:20]}"
            raise NotInstalled(f"{self._kind}.version: {expected}; another fedpact may have it")
        return self._offer_own(found)

    def _of_package(self, name: str, wanted: int, code: str) -> Offer[T]:
        files = self._files(name)
        for file in files:
            if file.code == code:
                offer = self._offer(file)
                if offer.implementation.version != wanted:
                    expected = f"expected {offer.implementation.version}, as this code says, found {wanted}"
                    raise NotInstalled(f"{file.what}: version: {expected}; {file.path}")
                return offer
        if not files:
            expected = f"expected an installed package that offers it, with code {code}"
            near = did_you_mean(name, sorted({entry.name for entry in self._entries()}))
            raise NotInstalled(f"{self._kind} {name}: {expected}; found none{near}")
        found_here = " and ".join(f"{file.code} ({file.origin}, {file.path})" for file in files)
        raise NotInstalled(f"{self._kind} {name}: code: expected {code}, found {found_here}; install the one expected")

    def _offer_own(self, found: type[T]) -> Offer[T]:
        return Offer(f"{self._kind} {found.name}", found)

    def _offer(self, file: _File) -> Offer[T]:
        return Offer(file.what, self._load(file), file.origin, file.path, file.code)

    def _load(self, file: _File) -> type[T]:
        found: Any = getattr(file.run(), file.attribute, None)
        if not (isinstance(found, type) and issubclass(found, self._base)) or inspect.isabstract(found):
            expected = f"a {self._base.__name__} that leaves nothing abstract"
            raise NotInstalled(f"{file.what}: {file.path}: {file.attribute}: expected {expected}, found {found!r:.200}")
        said = getattr(found, "name", None), getattr(found, "version", None)
        if said[0] != file.name or not isinstance(said[1], int):
            expected = f"expected name {file.name!r} and a whole number as version"
            raise NotInstalled(
                f"{file.what}: {file.path}: {file.attribute}: {expected}, found {said[0]!r}, {said[1]!r}"
            )
        return found

    def _files(self, name: str) -> list[_File]:
        """The files that a name's entry points lead to.

        Raises:
            NotInstalled: there are entry points, but not one of them leads to a file.
        """
        files: list[_File] = []
        broken: NotInstalled | None = None
        for entry in self._entries():
            if entry.name == name and _is_foreign(name):
                try:
                    files.append(_File.of(self._kind, entry))
                except NotInstalled as error:
                    broken = error
        if broken is not None and not files:
            raise broken
        return files

    def _entries(self) -> Iterator[EntryPoint]:
        yield from entry_points(group=self.group)


_running = threading.RLock()
"""Whoever runs a module holds it: nobody takes one that is half done."""


@dataclass(frozen=True, slots=True)
class _File:
    """The file that an entry point leads to, read and hashed, not run.

    Attributes:
        what: kind and name, for errors.
    """

    name: str
    what: str
    origin: str
    module: str
    attribute: str
    path: Path
    package: str
    source: bytes

    @classmethod
    def of(cls, kind: str, entry: EntryPoint) -> _File:
        """Finds and reads it.

        Raises:
            NotInstalled: there is none.
        """
        what, origin = f"{kind} {entry.name}", _origin(entry)
        match = re.fullmatch(r"([\w.]+):(\w+)", entry.value)
        if match is None:
            raise NotInstalled(f"{what}: {origin}: expected an entry point MODULE:CLASS, found {entry.value[:80]!r}")
        module, attribute = match.groups()
        spec = _find(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise NotInstalled(f"{what}: {origin}: expected a Python file for module {module}, found none")
        path = Path(spec.origin)
        try:
            source = path.read_bytes()
        except OSError as error:
            raise NotInstalled(f"{what}: {path}: {error.strerror}") from None
        return cls(entry.name, what, origin, module, attribute, path, spec.parent or "", source)

    @property
    def code(self) -> str:
        return hashlib.sha256(self.source).hexdigest()

    def run(self) -> ModuleType:
        """The module made of the very bytes that were hashed; beside any that was imported under its own name.

        Raises:
            NotInstalled: it ends with an error.
        """
        name = f"{self.module}@{self.code}"
        with _running:
            if name in sys.modules:
                return sys.modules[name]
            module = ModuleType(name)
            module.__file__ = str(self.path)
            module.__package__ = self.package
            sys.modules[name] = module  # Dataclasses look their module up.
            try:
                code = compile(self.source, self.path, "exec", dont_inherit=True)
                exec(code, module.__dict__)  # noqa: S102  # What an import does, of bytes that are known.
            except BaseException as error:
                del sys.modules[name]
                if isinstance(error, Exception):
                    raise NotInstalled(f"{self.what}: {self.path}: cannot be loaded: {_in_words(error)}") from error
                raise
            return module


def _find(module: str) -> ModuleSpec | None:
    """Where a module is, without running anything of its packages, as `importlib.util.find_spec` would."""
    spec: ModuleSpec | None = None
    places = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        if spec is not None:
            places = spec.submodule_search_locations
            if places is None:  # No package, so it has no modules.
                return None
        found = (finder.find_spec(name, places) for finder in sys.meta_path)
        spec = next((each for each in found if each is not None), None)
        if spec is None:
            return None
    return spec


def _is_foreign(name: str) -> bool:
    return "." in name and NAME.fullmatch(name) is not None


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
