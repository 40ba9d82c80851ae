"""Makes the checkpoint from which the memory for any damage is trained: the parameters of a pretrained memory.

    python start.py CHECKPOINT

What `omniglot-4608-decoded` lacks, the net that estimates masks again, is fresh.
"""

import sys
from pathlib import Path

import torch

from lightning_ebm import pretrained


def main(path: Path) -> None:
    """Writes the checkpoint."""
    torch.manual_seed(0)
    found = pretrained.read("omniglot-4608-decoded")
    energy = found.memory["energy"] | {"revision": 24}
    memory = pretrained.built(found.memory | {"energy": energy}, found.spec)
    fresh = memory.load_state_dict(found.parameters, strict=False)
    assert not fresh.unexpected_keys and all("revision" in key for key in fresh.missing_keys), fresh
    parameters = {f"memory.{name}": value for name, value in memory.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": parameters, "global_step": 0, "training_seconds": 0.0}, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
