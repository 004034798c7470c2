"""The processes that a program runs in on one machine."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from mpccompile.runtime.session import Session

if TYPE_CHECKING:
    from mpccompile.options import Options


def session_for(options: Options) -> Session:
    """Start what a program compiled with these options runs in."""
    if options.target != "crypten":
        return Session(options.device)
    if options.dealer == "insecure-local":
        warnings.warn(
            "dealer='insecure-local': rank 0 makes the triples, and could see every value of this run",
            UserWarning,
            stacklevel=3,
        )
        return Session(options.device, stock="TFP")
    return Session(options.device, stock="TTP")
