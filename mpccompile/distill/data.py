"""Data sets as tables of tensors, checked against the model before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from mpccompile.errors import DataError
from mpccompile.ir import ops
from mpccompile.ir.rewrite import is_call, shape_of

if TYPE_CHECKING:
    from mpccompile.ir.program import InputSpec, Program

LABELS = "labels"
NO_LABEL = -100
"""The label of what has none, as in torch's cross_entropy."""


@dataclass(frozen=True)
class Table:
    """A data set in memory.

    Attributes:
        inputs: By name, [rows, ...], in the dtypes of the program.
        labels: [rows, ...], or None.
    """

    inputs: dict[str, Tensor]
    labels: Tensor | None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def rows(self, index: Tensor) -> Table:
        """Return some rows."""
        inputs = {name: column[index] for name, column in self.inputs.items()}
        return Table(inputs, None if self.labels is None else self.labels[index])

    def split(self, share: float, seed: int) -> tuple[Table, Table]:
        """Return the table without some of its rows, and these: ``share`` of them, at least one."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        count = min(len(self) - 1, max(1, round(share * len(self))))
        return self.rows(order[count:].sort().values), self.rows(order[:count].sort().values)

    def to(self, device: str) -> Table:
        """Return the table on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return Table({name: column.to(device) for name, column in self.inputs.items()}, labels)


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
        data: An iterable of dicts (a DataLoader, a generator, a list), or anything with ``__len__`` and
            ``__getitem__`` that gives dicts (a torch Dataset, a Hugging Face dataset). A dict has one row, or a batch
            of any size, of each input by name, and of ``labels``; a single dict is one batch. It is read once, into
            memory. A table that was read before is taken as it is.
        program: The student.
        what: What errors call it.

    Raises:
        DataError: Naming the first row or batch that does not fit, and why.
    """
    batch_size(program)
    if isinstance(data, Table):
        return data
    parts: list[dict[str, Tensor]] = []
    for item, place in _items(data, what):
        part = _batch(item, program.inputs, place)
        if parts and set(part) != set(parts[0]):
            raise DataError(f"only some rows have {LABELS}", where=place)
        parts.append(part)
    if not parts:
        raise DataError("there are no rows", where=what)
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    labels = columns.pop(LABELS, None)
    table = Table(columns, labels)
    if not len(table):
        raise DataError("there are no rows", where=what)
    _check_values(table, program, what)
    return table


def _items(data: Any, what: str) -> Iterator[tuple[Any, str]]:
    if isinstance(data, Mapping):
        yield data, what
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        for index in range(len(data)):
            yield data[index], f"{what}[{index}]"
    elif isinstance(data, Iterable):
        for index, item in enumerate(data):
            yield item, f"item {index} of {what}"
    else:
        raise DataError(
            f"a {type(data).__name__} is no data set", where=what, hint="Give dicts of inputs, one a row or a batch."
        )


def _batch(item: Any, specs: Sequence[InputSpec], place: str) -> dict[str, Tensor]:
    """Return one item as columns of one row or more."""
    if not isinstance(item, Mapping):
        raise DataError(
            f"an item is a {type(item).__name__}, not a dict", where=place, hint="Give inputs by name, and labels."
        )
    names = [spec.name for spec in specs]
    missing = [name for name in names if name not in item]
    unknown = [str(name) for name in item if name not in {*names, LABELS}]
    if missing or unknown:
        problem = f"input {', '.join(missing)} is missing" if missing else f"there is no input {', '.join(unknown)}"
        raise DataError(problem, where=place, hint=f"The inputs are {', '.join(names)}; {LABELS} may come with them.")
    tensors = {name: _tensor(name, item[name], place) for name in item}
    single = tensors[names[0]].dim() == len(specs[0].shape) - 1
    if single:
        tensors = {name: tensor.unsqueeze(0) for name, tensor in tensors.items()}
    count = tensors[names[0]].shape[0] if tensors[names[0]].dim() else 0
    converted = {spec.name: _converted(tensors[spec.name], spec, place, single=single) for spec in specs}
    if LABELS in tensors:
        converted[LABELS] = tensors[LABELS]
    for name, tensor in converted.items():
        if not tensor.dim() or tensor.shape[0] != count:
            raise DataError(f"{name} has {len(tensor) if tensor.dim() else 1} rows, {names[0]} {count}", where=place)
    return converted


def _tensor(name: str, value: Any, place: str) -> Tensor:
    try:
        return torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} is no tensor but a {type(value).__name__}", where=place) from error


def _converted(tensor: Tensor, spec: InputSpec, place: str, *, single: bool) -> Tensor:
    if tuple(tensor.shape[1:]) != spec.shape[1:] or tensor.dim() != len(spec.shape):
        given = list(tensor.shape[1:] if single else tensor.shape)
        raise DataError(
            f"input {spec.name} has shape {given}, the model takes rows of shape {list(spec.shape[1:])}",
            where=place,
            hint="Pad or cut the rows, or make the program for this shape.",
        )
    if tensor.is_floating_point() != spec.dtype.is_floating_point:
        raise DataError(f"input {spec.name} has dtype {tensor.dtype}, the model takes {spec.dtype}", where=place)
    return tensor.to(spec.dtype)


def _check_values(table: Table, program: Program, what: str) -> None:
    sizes = _table_sizes(program)
    for name, column in table.inputs.items():
        if column.is_floating_point():
            _refuse(~torch.isfinite(column), f"input {name} holds NaN or infinity", what)
        elif name in sizes:
            wrong = (column < 0) | (column >= sizes[name])
            _refuse(wrong, f"input {name} holds an id outside 0..{sizes[name] - 1}", what)
    if table.labels is not None and table.labels.is_floating_point():
        _refuse(~torch.isfinite(table.labels), f"{LABELS} hold NaN or infinity", what)


def _refuse(wrong: Tensor, problem: str, what: str) -> None:
    if bool(wrong.any()):
        row = int(wrong.reshape(len(wrong), -1).any(1).nonzero()[0])
        raise DataError(problem, where=f"row {row} of {what}")


def _table_sizes(program: Program) -> dict[str, int]:
    """Return how many rows the smallest table has that an input's ids are looked up in."""
    sizes: dict[str, int] = {}
    for node in program.graph.nodes:
        if is_call(node, ops.embedding, torch.ops.aten.embedding.default):
            looked_up, table = (node.args[0], node.args[1])
            if node.target is not ops.embedding:
                looked_up, table = table, looked_up
            ids = _source(looked_up)
            if ids is not None:
                sizes[ids] = min(shape_of(table)[0], sizes.get(ids, shape_of(table)[0]))
    return sizes


def _source(node: fx.Node) -> str | None:
    """Return the input that a value is a view of."""
    views = (ops.reshape, ops.permute, ops.expand, torch.ops.aten.view.default, torch.ops.aten.expand.default)
    while is_call(node, *views):
        node = node.args[0]  # type: ignore[assignment]
    return str(node.target) if node.op == "placeholder" else None


def check_labels(table: Table, logits: Sequence[int], *, regression: bool, what: str) -> None:
    """Check the labels against the shape of the logits, [rows, ..., classes].

    Raises:
        DataError: If there are none, or they are of another shape, or no classes.
    """
    if table.labels is None:
        raise DataError(
            f"there are no {LABELS}", where=what, hint="Add them to each row, or leave out what needs them."
        )
    shapes = {tuple(logits[1:-1])} if not regression else {tuple(logits[1:-1]), tuple(logits[1:])}
    if tuple(table.labels.shape[1:]) not in shapes:
        raise DataError(
            f"{LABELS} have shape {list(table.labels.shape[1:])} a row, the model answers with {list(logits[1:])}",
            where=what,
        )
    if regression:
        return
    if table.labels.is_floating_point():
        raise DataError(f"{LABELS} are {table.labels.dtype}, not numbers of classes", where=what)
    wrong = (table.labels != NO_LABEL) & ((table.labels < 0) | (table.labels >= logits[-1]))
    _refuse(wrong, f"{LABELS} hold a class outside 0..{logits[-1] - 1}", what)
