"""A distillation's config read from texts."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mpccompile.distill.config import DistillationConfig, Stage
from mpccompile.errors import OptionError

STAGES = ("layers", "logits", "labels")
_FIRST = Stage(1, 5e-5)
"""What a stage is that there is none of by default: one epoch at the first stage's learning rate."""
_WORDS = {"none": None, "true": True, "false": False}
_SAID = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}


def config_of(settings: Iterable[str]) -> DistillationConfig:
    """Build a config from ``name=value`` and ``stage.name=value`` texts, in any order; of equal names the last counts.

    Raises:
        OptionError: If a name is no setting, a value is of another type, or the values mean nothing together.
    """
    own: dict[str, Any] = {}
    staged: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator or not text:
            raise OptionError(
                f"--set {setting!r} has no value", hint="Write it as seed=1, layers.epochs=20 or layers=none."
            )
        stage, _, field = name.rpartition(".")
        if not stage:
            own[name] = _value(DistillationConfig, "", name, text)
        elif stage in STAGES:
            staged.setdefault(stage, {})[field] = _value(Stage, stage, field, text)
        else:
            raise OptionError(f"--set {setting!r}: {stage} is no stage", hint=f"The stages are {', '.join(STAGES)}.")
    start = DistillationConfig()
    for stage, changes in staged.items():
        if stage in own:
            raise OptionError(
                f"--set {stage}=none leaves the stage out, and --set {stage}.{next(iter(changes))} is a setting of it",
                hint="Give one of both.",
            )
        own[stage] = replace(getattr(start, stage) or _FIRST, **changes)
    return replace(start, **own)


def _value(owner: type, stage: str, field: str, text: str) -> Any:
    """Return a text as a value of the field's type."""
    hints: Mapping[str, Any] = get_type_hints(owner)
    if field not in hints:
        where = f"the stage {stage}" if stage else "the distillation"
        names = ", ".join(hints)
        more = "" if stage else " A stage's are written as layers.epochs=20."
        raise OptionError(f"--set: {field} is no setting of {where}", hint=f"The settings are {names}.{more}")
    kinds = _kinds(hints[field])
    value = _WORDS[text.lower()] if text.lower() in _WORDS else _number(text)
    for kind in kinds:
        if get_origin(kind) is Literal and text in get_args(kind):
            return text
        if kind is str:
            return text
        if isinstance(kind, type) and type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
    expected = " or ".join(_said(kind, field) for kind in kinds)
    name = f"{stage}.{field}" if stage else field
    raise OptionError(f"--set {name}={text}: {name} is {expected}", where=f"setting {name}")


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, types.UnionType} else (hint,)


def _said(kind: Any, field: str) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return f"set by its fields, as {field}.epochs=20," if kind is Stage else _SAID[kind]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
