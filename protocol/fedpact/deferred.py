"""Modules that are imported when one of their functions is first called.

For a dependency of a dependency that computes tables for most of a second at import, for functions that nobody here
calls. The module must be used for its functions alone: anything else that is asked of it is taken for one of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def defer(name: str) -> None:
    """Lets `import name` and `from name import function` succeed at once. A module that is there already stays."""
    sys.modules.setdefault(name, _Deferred(name))


class _Deferred(ModuleType):
    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **named: Any) -> Any:
            if sys.modules.get(self.__name__) is self:
                sys.modules.pop(self.__name__, None)
            return getattr(importlib.import_module(self.__name__), name)(*arguments, **named)

        return call
