"""Settings of distortions under their former names, as stored configurations have them, in their present form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMER: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "noise_block": ("block", {}, {"fill": "noise"}),
    "erased_block": ("block", {"value": "fill"}, {"fill": 0.5}),
    "occlusion": ("block", {}, {"fill": "pattern"}),
    "redrawn_bits": ("pixels", {"count": "amount"}, {"amount": 64, "fill": "noise"}),
    "random_pixels": ("pixels", {"share": "amount"}, {"fill": "noise"}),
    "salt_and_pepper": ("pixels", {"share": "amount"}, {"fill": "salt_and_pepper"}),
}
"""Of each former name: the present one, its keys that are called otherwise now, and what it set by itself."""


KEYS = {"name", "size", "value", "count", "share"}
"""Keys that settings of these had; a mapping with others is no distortion, such as a run of that name."""


def present(config: Any) -> Any:
    """A plain configuration, or any part of one, with each distortion under its present name.

    Raises:
        ValueError: for `redrawn_bits` of one bit, which is a share now: 1 / bits of a pattern.
    """
    if isinstance(config, list):
        return [present(one) for one in config]
    if not isinstance(config, Mapping):
        return config
    found = {key: present(value) for key, value in config.items()}
    for key in ("distortion", "test_distortion"):
        if isinstance(found.get(key), str) and found[key] in FORMER:
            found[key] = present({"name": found[key]})
        elif isinstance(found.get(key), dict) and "name" not in found[key]:  # laid over one with a name
            found[key] = {{"count": "amount", "share": "amount"}.get(k, k): v for k, v in found[key].items()}
    if isinstance(found.get("of"), list):
        found["of"] = [present({"name": one}) if isinstance(one, str) and one in FORMER else one for one in found["of"]]
    if found.get("name") not in FORMER or not set(found) <= KEYS:
        return found
    name, keys, implied = FORMER[found["name"]]
    settings = {keys.get(key, key): value for key, value in found.items() if key != "name"}
    if found["name"] == "redrawn_bits" and settings.get("amount") in (1, [1, 1]):
        raise ValueError("redrawn_bits of count 1 is now pixels with amount 1 / (bits of a pattern)")
    return {"name": name, **implied, **settings}
