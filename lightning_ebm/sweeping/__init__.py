"""Sweeps: trials of one command with many settings, from a file in the schema of Weights & Biases (W&B), unchanged.

lightning-ebm sweep sweeps/glyphs-rate.yaml workers=2    or    sweep("sweeps/glyphs-rate.yaml", {"workers": 2})
"""

from lightning_ebm.sweeping.trials import sweep

__all__ = ["sweep"]
