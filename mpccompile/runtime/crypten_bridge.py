"""The one place that imports CrypTen, and converts between its tensors and ours."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

from mpccompile.runtime.shared import Shared


def load_crypten() -> ModuleType:
    """Import CrypTen 0.4.1 under a torch that moved the module its ONNX converter wants.

    The converter does ``from torch.onnx._internal.registration import registry`` at import; torch 2.9 moved that module
    into ``torchscript_exporter``. Nothing of it is used here, so an alias is enough.
    """
    if "crypten" in sys.modules:
        return sys.modules["crypten"]
    old = "torch.onnx._internal.registration"
    try:
        importlib.import_module(old)
    except ModuleNotFoundError:
        sys.modules[old] = importlib.import_module("torch.onnx._internal.torchscript_exporter.registration")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("crypten")


crypten: Any = load_crypten()


def to_crypten(x: Shared) -> Any:
    """Return a CrypTensor over the same share.

    ``MPCTensor.from_shares`` first shares an empty tensor, which needs CrypTen's own network and generators; here both
    parties already hold their shares, so the object is put together directly.
    """
    result = crypten.mpc.MPCTensor.__new__(crypten.mpc.MPCTensor)
    crypten.CrypTensor.__init__(result, requires_grad=False)
    arithmetic = crypten.mpc.primitives.ArithmeticSharedTensor
    result._tensor = arithmetic.from_shares(x.share, precision=x.frac_bits)  # noqa: SLF001 - only its own code sets it
    result.ptype = crypten.mpc.arithmetic
    return result


def from_crypten(x: Any) -> Shared:
    """Return a CrypTensor's share as a :class:`Shared` value."""
    if isinstance(x, Shared):
        return x
    scale = x.encoder.scale
    return Shared(x.share, int(scale).bit_length() - 1)
