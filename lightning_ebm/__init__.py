"""lightning_ebm: meta-train, compare and launch associative memories."""

import importlib
from typing import Any

PUBLIC = {"AssociativeMemory": "memory", "PatternSpec": "memory", "State": "memory"}
"""Name -> the module that it is in."""

__all__ = ["AssociativeMemory", "PatternSpec", "State"]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used.

    For `python -m lightning_ebm` runs this file while the working folder still comes first, where a torch.py of the
    user's would be taken for the module torch; `__main__` then removes it.
    """
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)
