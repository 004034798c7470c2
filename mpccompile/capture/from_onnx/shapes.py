"""The shapes of a model's inputs: what the file says, and what the user says where it leaves a dim open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mpccompile.errors import InputError, OptionError

if TYPE_CHECKING:
    from mpccompile.capture.from_onnx.graph import Value

FLAG = "--input-shape"
Shapes = Mapping[str, Sequence[int] | int]


def parse_shapes(texts: Sequence[str]) -> dict[str, list[int]]:
    """Read ``input_ids=1,128``, or ``batch=1`` for a named dim.

    Raises:
        OptionError: If a text means nothing, or two of one name say different things.
    """
    shapes: dict[str, list[int]] = {}
    for text in texts:
        name, _, sizes = text.partition("=")
        parts = sizes.replace("x", ",").split(",")
        if not name or not all(part.strip().isdigit() and int(part) for part in parts):
            raise OptionError(f"{text!r} is no shape", where=FLAG, hint="Write it as input_ids=1,128.")
        shape = [int(part) for part in parts]
        if shapes.setdefault(name.strip(), shape) != shape:
            raise OptionError(f"{name.strip()} has two shapes", where=FLAG, hint="A package runs inputs of one shape.")
    return shapes


def bound_shapes(values: Sequence[Value], names: Mapping[str, str], given: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shape of every input.

    A dim that has a name in the file has one size: told once, for one input or under its own name, it holds for all.

    Args:
        values: The inputs as the file declares them.
        names: The name in the file, by argument.
        given: Shapes by input, or sizes by the name of a dim.

    Raises:
        InputError: If a dim is left open, a size contradicts the file, or a name is unknown.
    """
    arguments = {file: argument for argument, file in names.items()}
    shapes, sizes = told_shapes(values, names, given)
    return {arguments[value.name]: _shape(value, arguments[value.name], shapes, sizes) for value in values}


def told_shapes(
    values: Sequence[Value], names: Mapping[str, str], given: Shapes
) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Return the shapes that are given, by argument, and the sizes of the named dims that follow from them.

    Raises:
        InputError: If a size contradicts the file, or a name is unknown.
    """
    arguments = {file: argument for argument, file in names.items()}
    named = {axis.name for value in values for axis in value.axes or () if axis.size is None and axis.name}
    shapes: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for name, shape in given.items():
        numbers = [shape] if isinstance(shape, int) else [int(size) for size in shape]
        argument = arguments.get(name, name)
        if argument in names:
            shapes[argument] = numbers
        elif name in named and len(numbers) == 1:
            sizes[name] = numbers[0]
        elif name in named:
            raise InputError(
                f"{name} is one dim, {len(numbers)} sizes are given", where=FLAG, hint=f"Write it as {name}=SIZE."
            )
        else:
            dims = f" Its open dims are {', '.join(sorted(named))}." if named else ""
            raise InputError(f"there is no input {name}", hint=f"The inputs are {', '.join(names)}.{dims}")
    for value in values:
        _learn(value, shapes.get(arguments[value.name]), sizes)
    return shapes, sizes


def _learn(value: Value, shape: Sequence[int] | None, sizes: dict[str, int]) -> None:
    """Check a shape against the file and note the sizes of named dims."""
    if shape is None or value.axes is None:
        return
    if len(shape) != len(value.axes):
        raise InputError(
            f"input {value.name} has {len(value.axes)} dims in the file, the shape given has {len(shape)}", where=FLAG
        )
    for dim, (size, axis) in enumerate(zip(shape, value.axes, strict=True)):
        known = sizes.get(axis.name) if axis.size is None else axis.size
        if known is not None and known != size:
            told, hint = "", "Export the model with this dim open, or give the size it has."
            if axis.size is None:
                told, hint = f", {axis.name},", "It is one dim in the file: give it one size."
            raise InputError(
                f"dim {dim}{told} of input {value.name} is {known}, the shape given says {size}",
                where=FLAG,
                hint=hint,
            )
        if axis.size is None and axis.name:
            sizes[axis.name] = size


def _shape(value: Value, argument: str, shapes: Mapping[str, list[int]], sizes: Mapping[str, int]) -> tuple[int, ...]:
    if argument in shapes:
        return tuple(shapes[argument])
    if value.axes is None:
        raise InputError(f"the file says no shape for input {value.name}", hint=f"Add {FLAG} {argument}=SIZE,SIZE.")
    shape = [sizes.get(axis.name) if axis.size is None else axis.size for axis in value.axes]
    if None not in shape:
        return tuple(size for size in shape if size is not None)
    open_dims = [dim for dim, size in enumerate(shape) if size is None]
    called = ", ".join(
        f"dim {dim}" + (f" ({value.axes[dim].name})" if value.axes[dim].name else "") for dim in open_dims
    )
    example = ",".join("SIZE" if size is None else str(size) for size in shape)
    raise InputError(
        f"{called} of input {value.name} is open in the file",
        hint=f"A private program has fixed shapes: add {FLAG} {argument}={example}.",
    )


def check_inputs(values: Sequence[Value], names: Mapping[str, str], inputs: Mapping[str, Tensor]) -> None:
    """Check tensors against what the file declares.

    Raises:
        InputError: If one is missing or unknown, or its shape is not the file's.
    """
    missing, unknown = sorted(set(names) - set(inputs)), sorted(set(inputs) - set(names))
    if missing or unknown:
        what = f"input {', '.join(missing)} is missing" if missing else f"there is no input {', '.join(unknown)}"
        raise InputError(what, hint=f"The inputs are {', '.join(names)}.")
    bound_shapes(values, names, {name: tuple(value.shape) for name, value in inputs.items()})
