"""Which layer of a model a module is in."""

from __future__ import annotations


def layer_of(path: str) -> str:
    """Return the layer a module is in: down to the first number in its path, or else its first two parts."""
    parts = path.split(".")
    depth = next((index for index, part in enumerate(parts) if part.isdigit()), 1)
    return ".".join(parts[: depth + 1])
