"""Names of an ONNX file as names of Python and of torch modules."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection

from torch import nn

# What exporters and optimisers call a tensor that had no name.
_MADE_UP = re.compile(r"(onnx::.*|val_\d+|_?\d+|.*(^|/)(const|constant|initializer|ortshared|scalar_tensor)\w*)", re.I)

# What stands in the code of every graph of torch.fx, beside its inputs.
_MEANT = frozenset({"self", "torch", "device", "inf", "nan", "NoneType"})


def identifier(name: str) -> str:
    """Return a name that a keyword argument can have: ``input.1`` becomes ``input_1``, ``größe`` ``gr__e``."""
    # torch.export writes an underscore for every other letter too.
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    plain = f"_{plain}" if plain[0].isdigit() else plain
    return f"{plain}_" if keyword.iskeyword(plain) or plain in _MEANT else plain


def is_made_up(name: str) -> bool:
    """Say whether a tensor's name says nothing of what it is: ``onnx::MatMul_365``, ``val_59``."""
    return bool(_MADE_UP.fullmatch(name))


def is_path(name: str) -> bool:
    """Say whether a tensor's name is the path of a weight in a module: ``encoder.layer.0.weight``."""
    return "." in name and not is_made_up(name)


STEPS = "onnx_nodes"
"""Where a module keeps the steps of a graph."""
# What a module of torch has, and what the one that holds the weights has besides.
_TAKEN = frozenset(dir(nn.Module())) | {STEPS, "steps", "arguments", "outputs", "places"}


def parameter_path(name: str, owner: str, taken: Collection[str]) -> str:
    """Return a path for a weight, made of words between dots.

    Args:
        name: The tensor's own name.
        owner: The path of the module that reads it, for a name that says nothing.
        taken: Paths that other weights have; the path is none of them, and neither begins with the other.
    """
    text = f"{owner}.weight" if is_made_up(name) else name.replace("/", ".")
    words = [re.sub(r"\W", "_", part) for part in text.split(".") if part]
    parts = [f"{word}_" if word in _TAKEN else word for word in words]
    path, count = ".".join(parts) or "weight", 0
    # No suffix helps where a weight stands at the path of the module that another one is in.
    if any(f"{path}.".startswith(f"{other}.") and path != other for other in taken):
        path = path.replace(".", "_")
    base = path
    while any(f"{other}.".startswith(f"{path}.") or path == other for other in taken):
        count += 1
        path = f"{base}_{count}"
    return path
