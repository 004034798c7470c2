"""Messages between a controller and its workers: a JSON header and tensors, never a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

_HEADER_BYTES = 8


def send(connection: Connection, header: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
    """Send one message; tensors are copied to the CPU."""
    text = json.dumps(header).encode()
    body = save({name: tensor.detach().cpu().contiguous() for name, tensor in (tensors or {}).items()})
    connection.send_bytes(len(text).to_bytes(_HEADER_BYTES, "little") + text + body)


def receive(connection: Connection) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Wait for one message.

    Raises:
        EOFError: If the other side is gone.
    """
    data = connection.recv_bytes()
    size = int.from_bytes(data[:_HEADER_BYTES], "little")
    header: dict[str, Any] = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + size])
    return header, load(data[_HEADER_BYTES + size :])


def send_words(connection: Connection, packed: Tensor) -> None:
    """Send raw bytes (uint8), such as a packed correction."""
    data = memoryview(packed.cpu().contiguous().numpy().data).cast("B")
    if not _is_plain(connection):
        connection.send_bytes(data)
        return
    while len(data):
        data = data[os.write(connection.fileno(), data) :]


def receive_words(connection: Connection, size: int) -> Tensor:
    """Receive as many raw bytes as were sent.

    Raises:
        EOFError: If the other side is gone, or sent another number of bytes.
    """
    words = torch.empty(size, dtype=torch.uint8)
    left = memoryview(words.numpy().data).cast("B")
    if _is_plain(connection):
        while len(left):
            got = os.readv(connection.fileno(), [left])
            if not got:
                raise EOFError
            left = left[got:]
        return words
    data = connection.recv_bytes()
    if len(data) != size:
        raise EOFError(f"expected {size} bytes of corrections, got {len(data)}")
    left[:] = data
    return words


def _is_plain(connection: Connection) -> bool:
    """Say whether a connection adds nothing to what it carries, so that its descriptor may be used.

    A Connection receives into pieces and copies them twice, which takes four times as long as reading into place.
    """
    return type(connection) is Connection
