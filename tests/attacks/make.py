"""Writes the hostile checkpoints beside it: `python -m tests.attacks.make`. Each is less than 4 KB.

Those that would run code make a folder `attacked` in the working directory.
"""

import io
import os
import pickle
import zipfile
from pathlib import Path

import torch

FOLDER = Path(__file__).parent


class Command:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def checkpoint(**changes):
    content = {"state_dict": {"memory.value": torch.zeros(2)}, "global_step": 2, "training_seconds": 1.0}
    return saved(content | changes)


def without(key):
    content = {"state_dict": {}, "global_step": 2, "training_seconds": 1.0}
    return saved({name: value for name, value in content.items() if name != key})


def rewritten(whole, records=None, compression=zipfile.ZIP_STORED, append=()):
    """A zip whose records are replaced, by the ends of their names, or followed by others."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for name in old.namelist():
            replaced = [content for end, content in (records or {}).items() if name.endswith(end)]
            new.writestr(name, replaced[0] if replaced else old.read(name))
        for name, content in append:
            new.writestr(name, content)
    return file.getvalue()


def attacks():
    itself = []
    itself.append(itself)
    endless = torch.zeros(1).expand(10**12)
    nested = b"\x80\x02" + b"]" * 1500 + b"a" * 1499 + b"."
    return {
        "code.pt": checkpoint(callbacks=Command()),
        "code_in_parameters.pt": checkpoint(state_dict=Command()),
        "code_legacy.pt": saved(Command(), _use_new_zipfile_serialization=False),
        "code_pickle.pt": pickle.dumps(Command(), 2),
        "contains_itself.pt": checkpoint(loops=itself),
        "empty.pt": b"",
        "endless_parameter.pt": checkpoint(state_dict={"memory.value": endless}),
        "endless_moment.pt": checkpoint(optimizer_states=[{"state": {0: {"exp_avg": endless}}}]),
        "html.pt": b"<html><body>404 Not Found</body></html>",
        "inflating.pt": rewritten(checkpoint(), {"/data/0": bytes(2**20)}, zipfile.ZIP_DEFLATED),
        "list.pt": saved([1, 2]),
        "meta.pt": checkpoint(state_dict={"memory.value": torch.zeros(2, device="meta")}),
        "names_are_numbers.pt": checkpoint(state_dict={1: torch.zeros(2)}),
        "nan.pt": checkpoint(state_dict={"memory.value": torch.tensor([0.0, float("nan")])}),
        "nested.pt": rewritten(checkpoint(), {"data.pkl": nested}),
        "no_parameters.pt": without("state_dict"),
        "no_seconds.pt": without("training_seconds"),
        "no_step.pt": without("global_step"),
        "seconds_nan.pt": checkpoint(training_seconds=float("nan")),
        "sparse.pt": checkpoint(state_dict={"memory.value": torch.eye(2).to_sparse()}),
        "step_negative.pt": checkpoint(global_step=-1),
        "step_text.pt": checkpoint(global_step="2"),
        "truncated.pt": checkpoint()[:700],
        "values_are_text.pt": checkpoint(state_dict={"memory.value": "0, 0"}),
        "values_missing.pt": rewritten(checkpoint(), {"/data/0": b""}),
        "without_pickle.pt": rewritten(checkpoint(), {"data.pkl": b""}),
    }


if __name__ == "__main__":
    for name, content in attacks().items():
        (FOLDER / name).write_bytes(content)
