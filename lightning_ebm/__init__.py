"""lightning_ebm: meta-train, compare and launch associative memories."""

from lightning_ebm.memory import AssociativeMemory, PatternSpec, State

__all__ = ["AssociativeMemory", "PatternSpec", "State"]
