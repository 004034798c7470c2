"""Why a model fails on a data set: the row that does not fit, in place of what torch says of the first batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mpccompile import compiler
from mpccompile.data.read import read
from mpccompile.errors import CaptureFailed, MpcCompileError
from mpccompile.options import Options

if TYPE_CHECKING:
    from torch import nn

    from mpccompile.data.table import Table
    from mpccompile.ir.program import InputSpec


@contextmanager
def told_by_row(model: nn.Module | None, table: Table) -> Iterator[None]:
    """Where a model cannot be captured because an index is out of range, name the row whose id it is.

    Raises:
        DataError: Naming the row.
        CaptureFailed: As it came, if it is for another reason.
    """
    try:
        yield
    except CaptureFailed as error:
        if model is not None and isinstance(error.__cause__, IndexError):
            read(table, _specs(model, table))
        raise


def _specs(model: nn.Module, table: Table) -> tuple[InputSpec, ...]:
    """Return the inputs of a model, of which the table may hold ids that it fails on; empty if it cannot be captured.

    Whole numbers become 0 or 1: masks stay as they are, and such ids are in every table.
    """
    rows = {name: column[:2] for name, column in table.inputs.items()}
    small = {name: value if value.is_floating_point() else value.clamp(0, 1) for name, value in rows.items()}
    try:
        return compiler.recognise(model, small, Options()).inputs
    except MpcCompileError:
        return ()
