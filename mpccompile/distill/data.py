"""Data sets to train programs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpccompile.data.read import read as read_table
from mpccompile.errors import DataError

if TYPE_CHECKING:
    from mpccompile.data.table import Table
    from mpccompile.ir.program import Program


def batch_size(program: Program) -> int:
    """Return how many rows a call of the program takes.

    Raises:
        DataError: If its inputs do not all have the same number of rows.
    """
    sizes = {spec.name: spec.shape[0] if spec.shape else 0 for spec in program.inputs}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        named = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise DataError(f"the inputs of the program do not have one batch size: {named}")
    return next(iter(sizes.values()))


def read(data: Any, program: Program, what: str = "data") -> Table:
    """Read a data set and check every row against the inputs of a program.

    Args:
        data: What :func:`mpccompile.data.read.read` takes.
        program: The student.
        what: What errors call it.

    Raises:
        DataError: Naming the first row or batch that does not fit, and why.
    """
    batch_size(program)
    return read_table(data, program.inputs, what)
