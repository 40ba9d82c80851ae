"""Sweeps: trials of one command with many settings, from a file in the schema of Weights & Biases (W&B), unchanged.

    lightning-ebm sweep sweeps/glyphs-rate.yaml workers=2    or    sweep("sweeps/glyphs-rate.yaml", {"workers": 2})

`file` reads the file, `search` proposes values and judges errors, and `trials` runs, keeps and reports trials.
"""

from lightning_ebm.sweeping.trials import sweep

__all__ = ["sweep"]
