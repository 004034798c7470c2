"""The line between the two parties, over torch.distributed."""

from __future__ import annotations

import datetime as dt
import os

import torch
import torch.distributed as dist
from torch import Tensor

from mpccompile.errors import PartyLost


class GlooChannel:
    """Exchanges byte messages with the other party.

    Args:
        rank: 0 or 1.
        rendezvous: A torch.distributed init method, ``file://...`` on one machine or ``tcp://host:port``.
        timeout_seconds: How long to wait for the other party at each message.
    """

    def __init__(self, rank: int, rendezvous: str, timeout_seconds: float) -> None:
        if rendezvous.startswith("file://"):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        self._other = 1 - rank
        timeout = dt.timedelta(seconds=timeout_seconds)
        try:
            dist.init_process_group("gloo", init_method=rendezvous, world_size=2, rank=rank, timeout=timeout)
        except (RuntimeError, ValueError) as error:
            raise PartyLost(
                f"party {rank} could not meet the other party ({str(error).splitlines()[0]})",
                where=rendezvous,
                hint="Check that the address is free, reachable and the same on both sides.",
            ) from error

    def exchange(self, message: Tensor, expected_bytes: int) -> Tensor:
        """Send a uint8 tensor while receiving one of ``expected_bytes``.

        Raises:
            PartyLost: If the other party is gone or silent.
        """
        message = message.cpu()
        reply = torch.empty(expected_bytes, dtype=torch.uint8)
        try:
            works = [dist.isend(message, self._other)] if message.numel() else []
            if expected_bytes:
                works.append(dist.irecv(reply, self._other))
            for work in works:
                if work is not None:
                    work.wait()
        except RuntimeError as error:
            raise PartyLost("the other party ended or stopped answering") from error
        return reply

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()
