"""Pretrained memories: one safetensors file each, with the settings that build the memory and its published rows.

    memory = lebm.load_pretrained("glyphs-4096")    # or the path of a file that `lightning-ebm export` wrote
    state = memory.write(patterns)

The header of the file holds everything but the parameters, as JSON. A file may come from anybody: nothing is unpickled,
and it may name registered classes only.
"""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lightning_ebm.config import build_choice, packaged
from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.quantization import levels
from lightning_ebm.registry import did_you_mean, memories
from lightning_ebm.signals import reason

FOLDER = Path(__file__).parent / "weights"
"""Where the memories lie that have names."""
SUFFIX = ".safetensors"
FORMAT = 3
"""Of the file; raised when what is stored changes."""
NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
"""What a pretrained memory may be called: it is the name of its file, and begins that of a folder."""
FEW = 256
"""Values below which a matrix is not rounded."""
LARGE = 2**16
"""Values from which int4 rounds a matrix to 15 levels."""
GROUP = 32
"""Values of a row that share a scale in int4."""
MOST = 2**24
"""Bytes of a file's rows, decompressed; further ones are not read."""
SCALE = "::scale"
"""Ends the name of the tensor that holds the scales of another."""


class PretrainedError(ValueError):
    """A name that no pretrained memory has, or a file that is damaged or holds anything else; the message names it."""


@dataclass(frozen=True)
class Pretrained:
    """What the file of a pretrained memory holds."""

    name: str
    """What the memory is called."""
    memory: dict[str, Any]
    """Its registered name, under `name`, and its settings, as plain nested dicts."""
    shape: list[int]
    """Shape of one pattern."""
    binary: bool
    """Whether patterns are 0 and 1 only."""
    config: str
    """The resolved configuration of the run that trained it, as YAML."""
    rows: list[dict[str, Any]]
    """What it is published with: a `Record.to_plain` for each test setting and control."""
    made: dict[str, str]
    """Commit, date, hardware and versions that trained it, and that measured it."""
    dtype: str
    """How the file stores the parameters, one of `schema.DTYPES`."""
    parameters: dict[str, Tensor]
    """The memory's `state_dict`, float32."""

    @property
    def spec(self) -> PatternSpec:
        """Kind of the patterns that it stores."""
        return PatternSpec(tuple(self.shape), self.binary)

    def build(self) -> AssociativeMemory:
        """The memory, in eval mode. Torch's random generator is left as it was.

        Raises:
            PretrainedError: if a setting or a parameter does not fit its class.
        """
        try:
            memory = built(self.memory, self.spec)
            memory.load_state_dict(self.parameters)
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, MemoryError) as error:
            raise PretrainedError(f"the pretrained memory {self.name} cannot be built: {reason(error, 300)}") from error
        return memory.eval()

    def content(self) -> bytes:
        """The file."""
        tensors = packed(self.parameters, self.dtype)
        about = {"format": FORMAT} | {key: getattr(self, key) for key in KINDS} | {"rows": compressed(self.rows)}
        return safetensors.torch.save(tensors, {"about": json.dumps(about | {"sha256": digest(tensors, about)})})


HINTS = get_type_hints(Pretrained)
KINDS = {name: get_origin(hint) or hint for name, hint in HINTS.items() if name != "parameters"}
"""What the header holds, in this order -> its type."""


def built(settings: Any, spec: PatternSpec) -> AssociativeMemory:
    """The memory of plain settings, with fresh parameters. Torch's random generator is left as it was.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RuntimeError, MemoryError: if a setting does not fit its class.
    """
    with torch.random.fork_rng(devices=[]):
        memory: AssociativeMemory = memories.build(build_choice(memories, "", settings, "memory"), spec)
    return memory


def names() -> list[str]:
    """All names that `load` knows, sorted."""
    return list(packaged("weights", SUFFIX))


def load(name_or_path: str | Path) -> AssociativeMemory:
    """A pretrained memory, in eval mode.

    Args:
        name_or_path: one of `names()`, or the path of a file, which ends in .safetensors.

    Raises:
        PretrainedError: if there is none, or the file is damaged or holds anything else.
    """
    return read(name_or_path).build()


def read(name_or_path: str | Path) -> Pretrained:
    """All that the file of a pretrained memory holds. See `load`."""
    path = Path(name_or_path)
    if path.suffix != SUFFIX:
        if str(name_or_path) not in names():
            hint = did_you_mean(str(name_or_path), names())
            raise PretrainedError(
                f"there is no pretrained memory {str(name_or_path)!r}.{hint} Or the path of a file, …{SUFFIX}"
            )
        path = FOLDER / f"{name_or_path}{SUFFIX}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PretrainedError(f"the pretrained memory {path} cannot be read ({error.strerror})") from error
    return parse(content, str(path))


def parse(content: bytes, where: str) -> Pretrained:
    """What a file holds, checked; errors call it `where`."""
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
        about = json.loads(header.get("about", "null"))
        parameters = unpacked(tensors)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, RecursionError) as error:
        raise PretrainedError(f"{where} is damaged, or not a safetensors file ({reason(error, 300)})") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise PretrainedError(f"{where} is not a pretrained memory of format {FORMAT}")
    if about.pop("sha256", "") != digest(tensors, about):
        raise PretrainedError(f"{where} is damaged: its checksum does not match its content")
    if isinstance(about.get("rows"), str):  # a list in older files
        about["rows"] = decompressed(about["rows"], where)
    for key, kind in KINDS.items():
        if type(about.get(key)) is not kind:
            raise PretrainedError(f"{where} is not a pretrained memory: {key} must be a {kind.__name__}")
    found = Pretrained(**{key: about[key] for key in KINDS}, parameters=parameters)
    if not NAME.fullmatch(found.name):
        raise PretrainedError(f"{where}: a name must be of letters and digits, with single . _ - between")
    if not all(value.isfinite().all() for value in found.parameters.values()):
        raise PretrainedError(f"{where}: parameters must be finite")
    if not found.shape or not all(type(size) is int and size > 0 for size in found.shape):
        raise PretrainedError(f"{where}: shape must be whole numbers above 0, got {found.shape}")
    refuse_imports(found.memory, where)
    return found


def compressed(rows: list[dict[str, Any]]) -> str:
    """Rows as text. They hold the errors of every episode: as JSON, they can take more room than the parameters."""
    return base64.b85encode(zlib.compress(json.dumps(rows).encode(), 9)).decode()


def decompressed(text: str, where: str) -> Any:
    """What `compressed` has made text, from a file called `where` in errors."""
    try:
        return json.loads(zlib.decompressobj().decompress(base64.b85decode(text), MOST))
    except (ValueError, zlib.error, RecursionError) as error:
        raise PretrainedError(f"{where} is damaged: its rows cannot be read ({reason(error)})") from error


def packed(parameters: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """Parameters as the file stores them.

    int8 rounds each row of a matrix to 255 levels. int4 rounds each `GROUP` values of a row of a large matrix to 15
    levels, two values a byte, and the other matrices as int8 does. Scales are those of `quantization.levels`. The rest
    is float32. So are matrices of fewer than `FEW` values, such as rates, which differ by orders of magnitude within a
    row.
    """
    tensors = {}
    for name, value in parameters.items():
        value = value.detach().float().contiguous()
        if dtype not in ("int8", "int4") or value.ndim < 2 or value.numel() < FEW:
            tensors[name] = value.half() if dtype == "float16" else value
            continue
        halves = dtype == "int4" and value.numel() >= LARGE and value.ndim == 2 and value.shape[1] % GROUP == 0
        rows, most = (value.view(-1, GROUP), 7) if halves else (value.flatten(1), 127)
        whole, scale = levels(rows, most, torch.bfloat16 if halves else torch.float32)
        if halves:
            low, high = (whole + 8).to(torch.uint8).view(len(value), -1, 2).unbind(2)
            tensors[name], tensors[name + SCALE] = low + 16 * high, scale
        else:
            tensors[name], tensors[name + SCALE] = whole.to(torch.int8).view(value.shape), scale
    return tensors


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters, float32, from what the file stores."""
    parameters = {}
    for name, value in tensors.items():
        if name + SCALE in tensors:
            scale = tensors[name + SCALE].float()[:, None]
            halves = value.dtype == torch.uint8
            whole = torch.stack([value % 16, value // 16], -1).flatten(1).float() - 8 if halves else value.float()
            rows = whole.view(-1, GROUP) if halves else whole.flatten(1)
            parameters[name] = (rows * scale).view(whole.shape)
        elif not name.endswith(SCALE):
            parameters[name] = value.float()
    return parameters


def digest(tensors: dict[str, Tensor], about: dict[str, Any]) -> str:
    """SHA-256 of a file's content, in hexadecimal: safetensors has no checksum of its own."""
    return hashlib.sha256(safetensors.torch.save(tensors) + json.dumps(about).encode()).hexdigest()


def refuse_imports(settings: Any, where: str) -> None:
    """Refuses names of classes that are import paths, as these run code, and interpolations, which could make some.

    The settings are a file's, as nested dicts, lists and values; errors call the file `where`.
    """
    for text in leaves(settings):
        if isinstance(text, str) and (":" in text or "${" in text):
            raise PretrainedError(
                f"{where}: {text!r} could lead to an import; a file of parameters may only name registered classes"
            )


def leaves(node: Any) -> Iterator[Any]:
    """All keys and values in nested dicts, lists and tuples."""
    if isinstance(node, Mapping):
        yield from leaves([*node.keys(), *node.values()])
    elif isinstance(node, list | tuple):
        for value in node:
            yield from leaves(value)
    else:
        yield node
