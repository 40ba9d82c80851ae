"""The keys of a configuration as a JSON Schema, from which editors complete and check YAML files.

    # yaml-language-server: $schema=schema.json

Types, bounds, defaults and meanings are those of the settings classes. Two things are left to the package: a bound that
is another key, and the settings of a class that is chosen by its import path.
"""

import ast
import contextlib
import dataclasses
import inspect
import itertools
import json
import textwrap
import types
import typing
from typing import Any

from lightning_ebm.registry import REGISTRIES, Registry
from lightning_ebm.schema import RunConfig

DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest that yaml-language-server knows in full
TYPES: dict[Any, list[str]] = {
    bool: ["boolean", "string"],
    int: ["integer", "string"],
    float: ["number", "string"],
    str: ["string", "number", "boolean"],  # text stays as written: a name may be 12345e7 or yes
}
"""A setting's type -> the types of JSON that YAML may read its value as."""
INTERPOLATION = r"\$\{.+\}"
"""The one text that stands for a value of any type."""
BOUNDS = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum", "below": "exclusiveMaximum"}


def json_schema() -> dict[str, Any]:
    """The schema of a configuration file, with every registered memory, energy, data set, distortion and analysis.

    Every key is optional, because a file may leave it to its `base` or to the defaults.

    Raises:
        UnknownNameError: if a registered class cannot be imported.
    """
    keys = properties(RunConfig)
    same = {key: reference(f"/properties/{key}") for key in keys}  # a row changes the keys of the file
    # a size or a variation may change settings of the row's memory, which may be a class of one's own
    named = [field.name for field in dataclasses.fields(RunConfig) if field.metadata.get("registry")]
    unnamed = {"type": "object", "not": {"required": ["name"]}}
    changed = {**same, **{key: {"anyOf": [same[key], unnamed]} for key in named}}
    base = {
        "type": "string",
        "description": "What this file changes: a YAML file, relative to it, or a name, such as glyphs.",
    }
    return {
        "$schema": DIALECT,
        "title": "Configuration of lightning-ebm",
        **mapping({"base": base, **keys}),
        "definitions": {
            "changes": mapping(changed),
            "row": mapping({**same, "sizes": labelled("/definitions/changes")}),
            **{name: found for registry, _ in REGISTRIES.values() for name, found in definitions(registry).items()},
        },
    }


def to_json(schema: dict[str, Any]) -> str:
    """A schema as the text of a file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def definitions(registry: Registry) -> dict[str, Any]:
    """The choice among a registry's classes, and the settings of each."""
    kind, settings = registry.kind, {}
    for name in registry.names():
        loaded = registry.load(name)
        first = inspect.cleandoc(loaded.__doc__ or "").split("\n\n")[0]
        keys = mapping({"name": {"const": name}, **properties(loaded.config)})
        settings[f"{kind}.{name}"] = {"description": " ".join(first.split()), **keys}
    references = [reference(f"/definitions/{name}") for name in settings]
    own = {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": "A class of your own, package.module:Class."}
    choice = {
        "oneOf": [
            {"enum": registry.names()},
            own,
            {"type": "object", "required": ["name"], "properties": {"name": own}},
            *({"allOf": [one, {"required": ["name"]}]} for one in references),
            # the name is left to the base; what it is decides which of these keys are allowed
            {"type": "object", "not": {"required": ["name"]}, "anyOf": references},
        ]
    }
    return {kind: choice, **settings}


def properties(settings: Any) -> dict[str, Any]:
    """The schema of each field of a settings class."""
    hints, meant = typing.get_type_hints(settings), meanings(settings)
    found = {}
    for field in dataclasses.fields(settings):
        described = {"description": meant[field.name]} if field.name in meant else {}
        kind = hints[field.name]
        if field.metadata.get("registry"):
            value = chosen(field)
        elif dataclasses.is_dataclass(kind):
            value = mapping(properties(kind))
        else:
            made = field.default_factory
            default = field.default if made is dataclasses.MISSING else made()
            value = {**of_type(kind, field.metadata), "default": default}
        found[field.name] = {**described, **value}
    if settings is RunConfig:
        found["compare"]["properties"]["rows"] |= labelled("/definitions/row")
        found["compare"]["properties"]["vary"] |= {"additionalProperties": labelled("/definitions/changes")}
    return found


def chosen(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """What names a class, or, where the field holds several, a list of them. An optional choice may be empty."""
    one = reference(f"/definitions/{field.metadata['registry'].kind}")
    if field.default is dataclasses.MISSING:
        return {"type": "array", "items": one}
    return {"anyOf": [one, {"const": ""}]} if field.default == "" else {"allOf": [one], "default": field.default}


def of_type(kind: Any, metadata: Any) -> dict[str, Any]:
    """The schema of a value of a Python type, within the bounds of its field."""
    if kind is Any:  # a number or a range, which its class checks
        return {}
    if typing.get_origin(kind) is dict:
        return {"type": "object"}
    if typing.get_origin(kind) is list:
        least = {"minItems": metadata["min_length"]} if metadata.get("min_length") else {}
        return {"type": "array", "items": of_type(typing.get_args(kind)[0], metadata), **least}
    if one_of := metadata.get("one_of"):
        return {"anyOf": [{"enum": list(one_of)}, {"type": "string", "pattern": INTERPOLATION}]}
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    named = list(dict.fromkeys(name for one in kinds if one is not types.NoneType for name in TYPES[one]))
    limits = {
        BOUNDS[name]: bound
        for name, bound in metadata.get("bounds", {}).items()
        if not isinstance(bound, str) and abs(bound) < float("inf")
    }
    empty = ["null"] if types.NoneType in kinds else []
    text = {} if str in kinds else {"pattern": f"^(null|none)$|{INTERPOLATION}" if empty else INTERPOLATION}
    return {"type": [*named, *empty], **limits, **text}


def meanings(settings: type) -> dict[str, str]:
    """The docstring below each field of a settings class and of its bases, which Python does not keep."""
    found = {}
    for base in reversed(settings.__mro__):
        with contextlib.suppress(OSError, TypeError):  # built-in, or made in an interpreter
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(definition, ast.ClassDef)
            for field, below in itertools.pairwise(definition.body):
                text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else 0
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
                    found[field.target.id] = " ".join(text.split())
    return found


def mapping(keys: dict[str, Any]) -> dict[str, Any]:
    """A mapping that may have these keys and no others."""
    return {"type": "object", "properties": keys, "additionalProperties": False}


def labelled(path: str) -> dict[str, Any]:
    """A mapping from any label to what stands at a path of the schema."""
    return {"type": "object", "additionalProperties": reference(path)}


def reference(path: str) -> dict[str, str]:
    """What stands at a path of the schema."""
    return {"$ref": f"#{path}"}
