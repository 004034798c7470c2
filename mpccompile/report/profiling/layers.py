"""Which layer of a model a module is in."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def layers_of(paths: Collection[str]) -> Mapping[str, str]:
    """Return the layer that each module of a model is in.

    A numbered module is a layer, as ``bert.encoder.layer.3``. Another one is in the module that stands beside what
    holds the numbered ones, as ``bert.embeddings``, however deep the model is wrapped; where none is numbered, in the
    first two parts of its path.
    """
    holders = {holder for path in paths if (numbered := _numbered(path)) for holder in _prefixes(numbered)}
    return {path: _numbered(path) or _beside(path, holders) for path in paths}


def _numbered(path: str) -> str:
    """Return the path down to its first number; empty where it has none."""
    parts = path.split(".")
    depth = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    return "" if depth is None else ".".join(parts[: depth + 1])


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts))]


def _beside(path: str, holders: Collection[str]) -> str:
    parts = path.split(".")
    depth = max((depth for depth, prefix in enumerate(_prefixes(path)) if prefix in holders), default=1)
    return ".".join(parts[: depth + 1])
