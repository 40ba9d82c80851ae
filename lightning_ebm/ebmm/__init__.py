"""Energy-based memory models: the memory, its writing rule, its reading rule, and energies."""

from lightning_ebm.ebmm.memory import EBMM, EBMMConfig
from lightning_ebm.ebmm.reading import Reading, ReadingConfig
from lightning_ebm.ebmm.writing import Writing, WritingConfig

__all__ = ["EBMM", "EBMMConfig", "Reading", "ReadingConfig", "Writing", "WritingConfig"]
