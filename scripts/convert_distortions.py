"""Writes distortions of YAML files under their present names: `python scripts/convert_distortions.py FILE...`.

Comments and layout stay. What a file says before and after is compared; a file that cannot be converted in this way is
named and left as it is.
"""

import re
import sys
from pathlib import Path

import yaml

from lightning_ebm.renamed import FORMER, present


def converted(text: str) -> str:
    """The text with other names, and with other keys in the distortions that had others."""
    for former, (name, keys, implied) in FORMER.items():
        for key, now in keys.items():
            text = re.sub(rf"(name: {former}\b,?\s+){key}:", rf"\g<1>{now}:", text)
        said = "" if implied.get("fill") == "noise" else ", fill: " + str(implied["fill"])
        text = re.sub(rf"\{{name: {former}\b([^}}]*)\}}", rf"{{name: {name}\1{said}}}", text)
        if not said:
            text = re.sub(rf"name: {former}\b", f"name: {name}", text)
    return re.sub(r"distortion: \{count:", "distortion: {amount:", text)


def without_default(node: object) -> object:
    """The same without `fill: noise`, which need not be said."""
    if isinstance(node, dict):
        return {key: without_default(value) for key, value in node.items() if (key, value) != ("fill", "noise")}
    return [without_default(one) for one in node] if isinstance(node, list) else node


for path in map(Path, sys.argv[1:]):
    before = path.read_text(encoding="utf-8")
    after = converted(before)
    if without_default(present(yaml.safe_load(before))) != without_default(yaml.safe_load(after)):
        print(f"{path} must be converted by hand")
    elif before != after:
        path.write_text(after, encoding="utf-8")
        print(path)
