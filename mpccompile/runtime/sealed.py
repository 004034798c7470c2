"""Links between machines: encrypted, and only to somebody who holds the same key file.

The dealer sends each party a seed that expands to half of everything secret, so its lines must be read by nobody else,
the other party included. An X25519 exchange gives each line keys of its own; the key file goes into their derivation,
so that somebody in the middle who does not hold it ends up with other keys, and the first message already fails.
What parties send each other can be read by anybody: beyond public inputs, it is masked with what those seeds expand to.
That nobody changes it on the way is left to the network, as the protocols trust both parties to follow them.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import struct
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpccompile.errors import InputError, PartyLost

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import ReadableBuffer

KEY_BYTES = 32
HANDSHAKE_SECONDS = 5
# A machine that vanishes closes nothing: after 3 silent seconds it is asked twice, 2 seconds apart.
IDLE_SECONDS, ASK_SECONDS, ASKS = 3, 2, 2
PIECE_BYTES = 1 << 24
NONCE_BYTES = 12
_GREETING = b"mpccompile 1 "
_LAST, _MORE = b"\x00", b"\x01"


def make_key(path: Path) -> None:
    """Write a new key file that only its owner can read.

    Raises:
        InputError: If the file exists or cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"the key file cannot be made ({error.strerror})", where=str(path)) from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")


def read_key(path: Path) -> bytes:
    """Read a key file.

    Raises:
        InputError: If it cannot be read, can be read by others too, or holds no key.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"the key file cannot be read ({why})", where=str(path)) from error
    if mode & 0o077:
        raise InputError("others can read the key file", where=str(path), hint=f"Do: chmod 600 {path}.")
    if not re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}\n?", text):
        raise InputError("this is not a key file", where=str(path), hint="Make one with: mpccompile key FILE.")
    return bytes.fromhex(text.strip())


class SealedConnection(Connection):
    """A connection whose messages are encrypted with AES-256-GCM, in order, under one key for each direction.

    Args:
        handle: File descriptor of a connected socket, owned from now on.
        sending: Key of what goes out.
        receiving: Key of what comes in.
    """

    def __init__(self, handle: int, sending: bytes, receiving: bytes) -> None:
        super().__init__(handle)
        self._sending, self._sent = AESGCM(sending), 0
        self._receiving, self._received = AESGCM(receiving), 0

    def send_bytes(self, buf: ReadableBuffer, offset: int = 0, size: int | None = None) -> None:
        """Send one message, in pieces."""
        whole = memoryview(buf).cast("B")
        data = whole[offset : len(whole) if size is None else offset + size]
        for start in range(0, max(1, len(data)), PIECE_BYTES):
            mark = _LAST if start + PIECE_BYTES >= len(data) else _MORE
            piece = self._sending.encrypt(_nonce(self._sent), data[start : start + PIECE_BYTES], mark)
            self._sent += 1
            super().send_bytes(mark + piece)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive one message.

        Raises:
            EOFError: If the other side is gone.
            ConnectionError: If it was not sealed with the key of this line, or is longer than ``maxlength``.
        """
        pieces: list[bytes] = []
        while True:
            frame = super().recv_bytes(PIECE_BYTES + 64)
            mark, piece = frame[:1], frame[1:]
            try:
                pieces.append(self._receiving.decrypt(_nonce(self._received), piece, mark))
            except InvalidTag:
                raise ConnectionError("a message does not fit the key of this line") from None
            self._received += 1
            if maxlength is not None and sum(map(len, pieces)) > maxlength:
                raise ConnectionError("a message is longer than expected")
            if mark == _LAST:
                return b"".join(pieces)


def _nonce(count: int) -> bytes:
    return count.to_bytes(NONCE_BYTES, "big")


def secure(line: socket.socket, key: bytes, *, client: bool) -> SealedConnection:
    """Turn a connected socket into a sealed line; the socket is used up, also when this fails.

    Args:
        line: A connected TCP socket.
        key: What is in the key file, the same on both sides.
        client: Whether this side connected; the other one listened.

    Raises:
        PartyLost: If the other side has another key.
        OSError: If it is silent, or speaks something else.
        EOFError: If it left.
    """
    _configure(line)
    raw = Connection(line.detach())
    try:
        secret = X25519PrivateKey.generate()
        mine = secret.public_key().public_bytes_raw()
        raw.send_bytes(_GREETING + mine)
        greeting = raw.recv_bytes(len(_GREETING) + len(mine))
        theirs = greeting.removeprefix(_GREETING)
        if greeting == theirs or len(theirs) != len(mine):
            raise ConnectionError("the other side is not mpccompile, or another version of it")
        agreed = _exchanged(secret, theirs)
        transcript = _GREETING + (mine + theirs if client else theirs + mine)
        keys = HKDF(hashes.SHA256(), 2 * KEY_BYTES, salt=key, info=transcript).derive(agreed)
        ours, others = (keys[:KEY_BYTES], keys[KEY_BYTES:]) if client else (keys[KEY_BYTES:], keys[:KEY_BYTES])
        link = SealedConnection(os.dup(raw.fileno()), ours, others)
    finally:
        raw.close()
    try:
        _confirm(link)
    except BaseException:
        link.close()
        raise
    return link


def _exchanged(secret: X25519PrivateKey, theirs: bytes) -> bytes:
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:
        raise ConnectionError("the other side sent no proper key") from error


def _confirm(link: SealedConnection) -> None:
    link.send_bytes(b"ready")
    try:
        link.recv_bytes(64)
    except ConnectionResetError:
        raise
    except ConnectionError:
        raise PartyLost(
            "the key of this process is not that of the other side", hint="Give all three a copy of one key file."
        ) from None
    _patience(link.fileno(), 0)


def _configure(line: socket.socket) -> None:
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE_SECONDS), ("TCP_KEEPINTVL", ASK_SECONDS), ("TCP_KEEPCNT", ASKS)):
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Keepalive asks only where nothing is on its way; this bounds how long what is may stay unanswered.
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * (IDLE_SECONDS + ASKS * ASK_SECONDS))
    _patience(line.fileno(), HANDSHAKE_SECONDS)


def _patience(handle: int, seconds: int) -> None:
    """Bound how long a read waits, where 0 is for ever: until the handshake is over, anybody may be calling."""
    line = socket.socket(fileno=os.dup(handle))
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
    finally:
        line.close()
