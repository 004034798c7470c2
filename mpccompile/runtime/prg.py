"""Cryptographic pseudo-random streams."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from mpccompile.errors import InputError


class Prg:
    """A stream of uniform bits from a 32-byte seed: AES-256 in counter mode."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise InputError(f"a seed has 32 bytes, not {len(seed)}")
        self._seed = seed
        self._stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()

    @classmethod
    def fresh(cls) -> Prg:
        """Return a stream with a seed from the operating system."""
        return cls(secrets.token_bytes(32))

    def bytes(self, n: int) -> bytes:
        """Return the next ``n`` bytes."""
        return self._stream.update(b"\0" * n)

    def words(self, shape: Sequence[int], bits: int = 64) -> Tensor:
        """Return int64 values uniform in [0, 2^bits), or over all of int64 for 64 bits."""
        size = torch.Size(shape)
        if size.numel() == 0:
            return torch.zeros(size, dtype=torch.int64)
        out = torch.frombuffer(bytearray(self.bytes(8 * size.numel())), dtype=torch.int64).view(size)
        return out if bits == 64 else out & ((1 << bits) - 1)

    def spawn(self, label: str) -> Prg:
        """Return an independent stream for ``label``."""
        return Prg(hmac.new(self._seed, label.encode(), hashlib.sha256).digest())
