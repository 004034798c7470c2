"""TCP addresses of the processes of a run over several machines."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import time
from dataclasses import dataclass

from mpccompile.errors import InputError, PartyLost

RETRY_SECONDS = 0.5
GLANCE_SECONDS = 0.01
BACKLOG = 8


@dataclass(frozen=True)
class Address:
    """A TCP address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT``, with or without ``tcp://`` in front.

        Raises:
            InputError: If it is something else.
        """
        host, _, port = text.removeprefix("tcp://").rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
            raise InputError(f"{text!r} is not an address", hint="Write it as HOST:PORT, such as 10.0.0.2:29500.")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def is_loopback(self) -> bool:
        """Say whether only processes of this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def listen(address: Address) -> socket.socket:
    """Return a socket that listens at an address of this machine.

    Raises:
        PartyLost: If it is taken, or not of this machine.
    """
    try:
        return socket.create_server((address.host, address.port), backlog=BACKLOG)
    except OSError as error:
        raise _unusable(address, error) from error


def _unusable(address: Address, error: OSError) -> PartyLost:
    if error.errno == errno.EADDRINUSE:
        return PartyLost(f"{address} is in use by another process", hint="Choose another port.")
    if error.errno == errno.EADDRNOTAVAIL:
        return PartyLost(f"{address.host} is not an address of this machine")
    return PartyLost(f"{address} cannot be used ({error.strerror})")


def dial(address: Address, deadline: float, who: str = "the dealer") -> socket.socket:
    """Connect to ``who``, which may start later than this process.

    Raises:
        PartyLost: If it cannot be reached until ``deadline``.
    """
    while True:
        left = deadline - time.monotonic()
        try:
            return socket.create_connection((address.host, address.port), timeout=max(RETRY_SECONDS, left))
        except OSError as error:
            if left <= RETRY_SECONDS or isinstance(error, socket.gaierror):
                reason = error.strerror or str(error)
                raise PartyLost(f"{who} at {address} cannot be reached ({reason})") from error
        time.sleep(RETRY_SECONDS)
