"""Numbers that stand in attributes of a node and were learned all the same: they are weights, as stored tensors are."""

from __future__ import annotations

from collections.abc import Collection

import onnx

ML = "ai.onnx.ml"
"""The domain of ONNX's operators for models that are not networks, as scikit-learn's are."""
_LEARNED = {"Scaler": ("offset", "scale"), "LinearRegressor": ("coefficients", "intercepts")}
_MATRICES = frozenset({"coefficients"})


def learned(proto: onnx.NodeProto, taken: Collection[str]) -> dict[str, onnx.TensorProto | None]:
    """Return the learned attributes of a node as stored tensors, in the order in which its rule takes them.

    Coefficients are a matrix [targets, features].

    Args:
        proto: The node.
        taken: Names of tensors that are stored already.

    Returns:
        By attribute, None for one that is left out; nothing for a node of which none was learned.
    """
    if proto.domain != ML:
        return {}
    given = {each.name: onnx.helper.get_attribute_value(each) for each in proto.attribute}
    tensors: dict[str, onnx.TensorProto | None] = {}
    for attribute in _LEARNED.get(proto.op_type, ()):
        numbers = given.get(attribute)
        name = f"{proto.output[0]}.{attribute}"
        while name in taken:
            name += "_"
        rows = [given.get("targets", 1)] if attribute in _MATRICES else []
        tensors[attribute] = _tensor(name, numbers, rows) if numbers else None
    return tensors


def _tensor(name: str, numbers: list[float], rows: list[int]) -> onnx.TensorProto:
    shape = [*rows, len(numbers) // max(1, *rows, 1)]
    return onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, shape, numbers)
