"""Do both parties round alike? The public factors of a series have to be the same numbers on both sides, to the bit."""

from __future__ import annotations

import hashlib

import torch

from mpccompile.errors import MpcCompileError
from mpccompile.runtime.series import COARSE, FINE, fit, fit_relative, turn_back, turn_of

PROBES = 4096
DIGEST_BYTES = 16
CURVES = (("gelu", -5.0, 5.0), ("silu", -6.0, 6.0), ("tanh", -4.0, 4.0), ("exp", -3.0, 3.0))
INVERSES = (("reciprocal", 0.25, 4.0), ("rsqrt", 0.05, 4.0))


def fingerprint(device: torch.device) -> bytes:
    """Return a digest of fitted coefficients and of public factors at probe values, as this machine computes them.

    Least squares and cosines are floating point: another processor, BLAS or torch may round them another way, and one
    unit of difference in a factor that the parties multiply their shares with makes the result random.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    series = [fit(name, low, high, 1e-4, 16) for name, low, high in CURVES]
    series += [fit_relative(name, low, high, 1e-4, 16) for name, low, high in INVERSES]
    for each in series:
        digest.update(repr(each).encode())
        values = torch.arange(PROBES, device=device) * 977
        waves = torch.ones((2 * len(each.cosine), PROBES), dtype=torch.int64, device=device)
        waves *= torch.arange(1, 2 * len(each.cosine) + 1, device=device)[:, None]
        for precision in (COARSE, FINE):
            turned = turn_back(values, waves, turn_of(each, precision, 0), values)
            digest.update(turned.cpu().numpy().tobytes())
    return digest.digest()


def expect_same(mine: bytes, theirs: bytes) -> None:
    """Refuse to work with a party that rounds otherwise.

    Raises:
        MpcCompileError: If the fingerprints differ.
    """
    if mine != theirs:
        raise MpcCompileError(
            "the two parties round floating point differently, so their shares would not fit together",
            hint="Use the same versions of torch and numpy, the same kind of processor, and the same kind of device.",
        )
