"""The settings of a class: a frozen dataclass that says each one once, with its default, its bounds and its meaning.

    @dataclass(frozen=True)
    class MemoryNetworkConfig(Settings):
        slots: int = setting(64, at_least=1)
        \"\"\"Patterns that fit into the memory.\"\"\"

The fields are the keys of a configuration file. Bounds hold however an instance is made, from a file or in a notebook.
"""

import copy
import dataclasses
import operator
from collections.abc import Iterable, Mapping
from typing import Any

COMPARISONS = {
    "at_least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "at_most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def setting(
    default: Any,
    *,
    at_least: float | str | None = None,
    above: float | str | None = None,
    at_most: float | str | None = None,
    below: float | str | None = None,
    one_of: Iterable[Any] = (),
    min_length: int = 0,
    path: bool = False,
) -> Any:
    """A field of a `Settings` dataclass.

    Args:
        default: its value if none is given; a list, dict or set is copied for each instance.
        at_least: least value allowed, or the name of another field that holds it. NaN is never within a bound; None,
            where the type has it, always is.
        above: bound that the value must exceed.
        at_most: greatest value allowed.
        below: bound that the value must stay under.
        one_of: the only values allowed; empty: any. In a list, bounds and values hold for each entry.
        min_length: entries that a list has at least.
        path: whether it is the path of a file or folder; where a configuration is read, `~` is then expanded.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata = {
        "bounds": {name: bound for name, bound in bounds.items() if bound is not None},
        "one_of": tuple(one_of),
        "min_length": min_length,
        "path": path,
    }
    if isinstance(default, list | dict | set):
        return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base class of all settings.

    Raises:
        ValueError: if a value is out of its bounds; the message begins with the field's name.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if (least := field.metadata.get("min_length")) and len(value) < least:
                raise ValueError(f"{field.name} must have at least {least} entries, got {value!r}")
            for one in value if isinstance(value, list | tuple) else [value]:
                if one is not None and (allowed := self.violated(one, field.metadata)):
                    raise ValueError(f"{field.name} must be {allowed}, got {value!r}")

    def violated(self, value: Any, metadata: Mapping[str, Any]) -> str:
        """What a field's value must be, in words, if it is not; empty if it is."""
        if (one_of := metadata.get("one_of")) and value not in one_of:
            return f"one of {', '.join(map(str, one_of))}"
        within, words = True, []
        for name, bound in metadata.get("bounds", {}).items():
            said, holds = COMPARISONS[name]
            number = getattr(self, bound) if isinstance(bound, str) else bound
            within = within and holds(value, number)
            words.append(f"{said} {bound}={number}" if isinstance(bound, str) else f"{said} {bound}")
        return "" if within else " and ".join(words)
