"""The operators that can be imported, for users to read."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import onnx

from mpccompile.capture.from_onnx.families import OPERATORS
from mpccompile.capture.from_onnx.rewrites import INTERNAL
from mpccompile.capture.from_onnx.unsupported import BRANCH


@dataclass(frozen=True)
class Listed:
    """One operator.

    Attributes:
        name: With its domain in front where that is not ONNX's own.
        opset: The first version of ONNX that has it; None for another domain's.
        values: "secret" where it may be computed on private values, else "public": on values that all parties know.
        meaning: What it computes.
    """

    name: str
    opset: int | None
    values: str
    meaning: str


def listed() -> list[Listed]:
    """Return every operator that has a rule, by name, ONNX's own first."""
    rows = [
        Listed(name, _first_opset(name), "secret" if operator.private else "public", _meaning(operator.rule))
        for name, operator in OPERATORS.items()
        if not name.startswith(INTERNAL)
    ]
    rows.append(Listed("Constant", 1, "public", "A stored tensor."))
    rows.append(Listed(BRANCH, 1, "public", "The branch that a condition, known at import, chooses."))
    return sorted(rows, key=lambda row: (row.opset is None, row.name))


def _first_opset(name: str) -> int | None:
    versions = [schema.since_version for schema in onnx.defs.get_all_schemas_with_history() if schema.name == name]
    return min(versions) if versions and "." not in name else None


def _meaning(rule: object) -> str:
    return (inspect.getdoc(rule) or "").partition("\n")[0]
