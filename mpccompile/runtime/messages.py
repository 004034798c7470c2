"""Messages between a controller and its workers: a JSON header and tensors, never a pickle."""

from __future__ import annotations

import json
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
    connection.send_bytes(packed.cpu().contiguous().numpy().data)


def receive_words(connection: Connection, size: int) -> Tensor:
    """Receive raw bytes, checking how many came."""
    data = connection.recv_bytes()
    if len(data) != size:
        raise EOFError(f"expected {size} bytes of corrections, got {len(data)}")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
