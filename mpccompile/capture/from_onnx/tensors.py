"""Tensors and types of ONNX as those of torch.

Two parties compute in fixed point, which has one width: float16, bfloat16 and float64 are all read as float32. torch
computes little in unsigned integers of 16 bits and more, so that they are read as int64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from mpccompile.errors import CaptureFailed

_PROTO = onnx.TensorProto
_FLOATS = (_PROTO.FLOAT, _PROTO.FLOAT16, _PROTO.BFLOAT16, _PROTO.DOUBLE)
_HALVES = (_PROTO.FLOAT16, _PROTO.BFLOAT16)
_WIDENED = (_PROTO.UINT16, _PROTO.UINT32, _PROTO.UINT64)
_LARGEST = float(np.finfo(np.float32).max)
_DTYPES: dict[int, torch.dtype] = {
    **dict.fromkeys(_FLOATS, torch.float32),
    **dict.fromkeys(_WIDENED, torch.int64),
    _PROTO.BOOL: torch.bool,
    _PROTO.INT8: torch.int8,
    _PROTO.UINT8: torch.uint8,
    _PROTO.INT16: torch.int16,
    _PROTO.INT32: torch.int32,
    _PROTO.INT64: torch.int64,
}
# The constants of GELU. torch computes with them in float32 whatever the model's width is; a file stores them in that
# width, 2e-4 off in float16 and 1e-3 in bfloat16: too far to be known for what they are.
_ROUNDED = {
    float(torch.tensor(constant, dtype=dtype)): constant
    for dtype in (torch.bfloat16, torch.float16)
    for constant in (math.sqrt(2), math.sqrt(1 / 2), math.sqrt(2 / math.pi), 0.044715)
}


def dtype_of(element_type: int, where: str) -> torch.dtype:
    """Return the dtype a type of ONNX is read as.

    Raises:
        CaptureFailed: If numbers of that type cannot be computed with: texts, complex numbers, and floats of 8 bits
            or fewer.
    """
    if element_type not in _DTYPES:
        names = {value: name for name, value in _PROTO.DataType.items()}
        raise CaptureFailed(
            f"values of type {names.get(element_type, element_type)} cannot be computed with",
            where=where,
            hint="Export the model in float32, float16 or bfloat16.",
        )
    return _DTYPES[element_type]


def from_proto(tensor: onnx.TensorProto, folder: str = "") -> Tensor:
    """Read a stored tensor, from a file beside the model where its data is there.

    A single number in 16 bits that is a rounded constant of GELU is read as that constant.

    Raises:
        CaptureFailed: If it is damaged, or of a type that cannot be computed with.
    """
    where = f"tensor {tensor.name}" if tensor.name else "a constant"
    dtype = dtype_of(tensor.data_type, where)
    try:
        array = numpy_helper.to_array(tensor, folder)
    except Exception as error:
        raise CaptureFailed(
            f"a stored tensor cannot be read: {first_line(error)}",
            where=where,
            hint="Copy the model again, with the files of external data beside it.",
        ) from error
    if dtype.is_floating_point:
        array = array.astype(np.float32, copy=False)
        if tensor.data_type in _HALVES and array.size == 1 and array.item() in _ROUNDED:
            array = np.full_like(array, _ROUNDED[array.item()])
    elif tensor.data_type in _WIDENED:
        array = array.astype(np.int64, copy=False)
    return torch.from_numpy(np.array(array, order="C", copy=not array.flags.writeable)).to(dtype)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def short(value: Any) -> Any:
    """Return a float32 as the number its author wrote: 1e-12, not 9.999999960041972e-13. Whole numbers stay."""
    if not isinstance(value, float):
        return value
    written = float(str(np.float32(value)))
    # The largest float32 is written as a number that is larger still.
    return written if abs(written) <= _LARGEST else value
