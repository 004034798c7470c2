"""Data sets in every form, read once into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mpccompile.data.checks import expect_values, rename
from mpccompile.data.table import LABELS, Named, Table
from mpccompile.errors import DataError

if TYPE_CHECKING:
    from mpccompile.ir.program import InputSpec

Columns = dict[str, Tensor]
PAIR = 2


def read(data: Any, specs: Sequence[InputSpec] = (), what: str = "data") -> Table:
    """Read a data set and check every row.

    An item of a data set is a dict with one row, or with a batch of any size, of each input by name and of ``labels``;
    or a pair of such a dict and labels. Whether it is a row, the inputs' shapes tell. Where no model is known yet, an
    item is a row if its label is a single number, or without labels if it comes by index from something else than a
    list, or has only single numbers and lists of them.

    Args:
        data: A dict of columns; an iterable of items (a DataLoader, a generator, a list); or anything with ``__len__``
            and ``__getitem__`` that gives items (a torch Dataset, a Hugging Face dataset). Data that was read before
            is only checked.
        specs: Inputs of the model, whose first dimension is the batch; none where no model is known yet.
        what: What errors call the data.

    Raises:
        DataError: Naming the first row or batch that does not fit, or where the data set itself fails.
    """
    if isinstance(data, Named):
        what, data = data.name, data.columns
    if isinstance(data, Table):
        labels = {} if data.labels is None else {LABELS: data.labels}
        parts = [_fitted({**data.inputs, **labels}, specs, data.name) if specs else {**data.inputs, **labels}]
        what = data.name
    else:
        parts = _parts(data, specs, what)
    if not parts:
        raise DataError("there are no rows", where=what)
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    labels_column = columns.pop(LABELS, None)
    if not columns:
        raise DataError(f"there are {LABELS} and no inputs", where=what, hint="Give the model's inputs by name.")
    table = Table(columns, labels_column, what)
    if not len(table):
        raise DataError("there are no rows", where=what)
    expect_values(table, specs)
    return table


def _parts(data: Any, specs: Sequence[InputSpec], what: str) -> list[Columns]:
    parts: list[Columns] = []
    by_index = _has_rows(data)
    for item, place in _items(data, what):
        named = _named(item, place)
        if specs:
            _expect_names(named, specs, place)
        tensors = {name: _tensor(name, value, place) for name, value in named.items()}
        if specs:
            part = _fitted(tensors, specs, place)
        else:
            batch = tensors if isinstance(data, Mapping) else _as_batch(tensors, by_index=by_index)
            part = _equal_rows(batch, place)
            if parts:
                _expect_alike(part, parts[0], place)
        if parts and set(part) != set(parts[0]):
            raise DataError(f"only some rows have {LABELS}", where=place)
        parts.append(part)
    return parts


def _has_rows(data: Any) -> bool:
    """Say whether items come by index from a data set, which gives rows."""
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return indexed and not isinstance(data, list | tuple | Mapping)


def _items(data: Any, what: str) -> Iterator[tuple[Any, str]]:
    """Go through items, each with what to call it; an error of the data set's own is told as one."""
    if isinstance(data, Mapping):
        yield data, what
        return
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if isinstance(data, str | bytes | Tensor) or not (indexed or isinstance(data, Iterable)):
        raise DataError(
            f"a {type(data).__name__} is no data set", where=what, hint="Give dicts of inputs, one a row or a batch."
        )
    source = (data[index] for index in range(len(data))) if indexed else iter(data)
    index = 0
    while True:
        place = f"{what}[{index}]" if indexed else f"item {index} of {what}"
        try:
            item = next(source)
        except StopIteration:
            return
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            raise DataError(
                f"the data set itself fails with {type(error).__name__}: {first}",
                where=place,
                hint="Go through it alone, with next(iter(data)) or data[0], to find out why.",
            ) from error
        yield item, place
        index += 1


def _named(item: Any, place: str) -> dict[str, Any]:
    if isinstance(item, Sequence) and len(item) == PAIR and isinstance(item[0], Mapping):
        item = {**item[0], LABELS: item[1]}
    if not isinstance(item, Mapping):
        raise DataError(
            f"an item is a {type(item).__name__}, not a dict", where=place, hint="Give inputs by name, and labels."
        )
    return {str(name): value for name, value in item.items()}


def _expect_names(given: Mapping[str, Any], specs: Sequence[InputSpec], place: str) -> None:
    names = [spec.name for spec in specs]
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in {*names, LABELS}]
    if missing or unknown:
        problem = f"input {', '.join(missing)} is missing" if missing else f"there is no input {', '.join(unknown)}"
        hint = f"The inputs are {', '.join(names)}; {LABELS} may come with them, and nothing else.{rename(given)}"
        raise DataError(problem, where=place, hint=hint)


def _tensor(name: str, value: Any, place: str) -> Tensor:
    try:
        tensor = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} is no tensor but a {type(value).__name__}",
            where=place,
            hint="Turn it into numbers, all rows of one length.",
        ) from error
    return tensor.float() if tensor.dtype in {torch.float64, torch.float16, torch.bfloat16} else tensor


def _fitted(tensors: Columns, specs: Sequence[InputSpec], place: str) -> Columns:
    """Return one item as columns of one row or more, in the shapes and dtypes that the model takes."""
    _expect_names(tensors, specs, place)
    names = [spec.name for spec in specs]
    single = tensors[names[0]].dim() == len(specs[0].shape) - 1
    if single:
        tensors = {name: tensor.unsqueeze(0) for name, tensor in tensors.items()}
    converted = {spec.name: _converted(tensors[spec.name], spec, place, single=single) for spec in specs}
    if LABELS in tensors:
        converted[LABELS] = tensors[LABELS]
    return _equal_rows(converted, place)


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


def _as_batch(tensors: Columns, *, by_index: bool) -> Columns:
    """Return an item whose model is not known as a batch."""
    if LABELS in tensors:
        single = tensors[LABELS].dim() == 0
    else:
        single = by_index or all(tensor.dim() <= 1 for tensor in tensors.values())
    return {name: tensor.unsqueeze(0) for name, tensor in tensors.items()} if single else tensors


def _equal_rows(columns: Columns, place: str) -> Columns:
    first = next((name for name in columns if name != LABELS), None)
    if first is None:
        return columns
    count = columns[first].shape[0] if columns[first].dim() else 0
    for name, tensor in columns.items():
        if not tensor.dim() or tensor.shape[0] != count:
            raise DataError(f"{name} has {len(tensor) if tensor.dim() else 1} rows, {first} {count}", where=place)
    return columns


def _expect_alike(part: Columns, first: Columns, place: str) -> None:
    """Refuse a batch that cannot stand below the first."""
    mine, its = set(part) - {LABELS}, set(first) - {LABELS}
    if mine != its:
        raise DataError(f"there is {', '.join(part)}, in the first rows {', '.join(first)}", where=place)
    for name in mine | (set(part) & set(first)):
        if part[name].shape[1:] != first[name].shape[1:]:
            shapes = f"{list(part[name].shape[1:])} a row, in the first rows {list(first[name].shape[1:])}"
            raise DataError(f"{name} has shape {shapes}", where=place, hint="Pad all of them to one length.")
