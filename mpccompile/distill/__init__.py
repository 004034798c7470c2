"""Distillation: train a program with cheap functions until it answers as the exact model does.

``mpccompile.distill`` is this package and can be called: it is :func:`mpccompile.distill.run.distill`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from mpccompile.distill.ablations import Ablations, Plan, ablate
from mpccompile.distill.config import DistillationConfig, Stage
from mpccompile.distill.result import Distilled
from mpccompile.distill.run import distill
from mpccompile.distill.text_config import MERGE_EFFECTIVE, MERGE_INTENDED, TextLoss

__all__ = [
    "MERGE_EFFECTIVE",
    "MERGE_INTENDED",
    "Ablations",
    "DistillationConfig",
    "Distilled",
    "Plan",
    "Stage",
    "TextLoss",
    "ablate",
    "distill",
]


class _Callable(ModuleType):
    """A package and the function of its name: Python would let the first import of one hide the other."""

    def __call__(self, *args: Any, **kwargs: Any) -> Distilled:
        return distill(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
