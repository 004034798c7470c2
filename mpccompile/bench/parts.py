"""The parts of a benchmark that is written down as it goes, so that a later failure loses nothing."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpccompile.errors import MpcCompileError, OptionError

if TYPE_CHECKING:
    from mpccompile.bench.race import Say
    from mpccompile.report.compare import Cost

_FAILURES = (MpcCompileError, RuntimeError, ValueError, OSError, MemoryError)


@dataclass(frozen=True)
class Pair:
    """What both engines took for the same.

    Attributes:
        name: What they computed.
        ours: This package.
        stock: Stock CrypTen as it runs by default, its triples counted as offline.
        peak_bytes: Most memory that (rank 0, rank 1) of ours held.
        ran: How much of it was run, where the rest is scaled.
    """

    name: str
    ours: Cost
    stock: Cost
    peak_bytes: tuple[int, int]
    ran: str = ""


@dataclass
class Part:
    """One table for one setting.

    Attributes:
        table: Which table.
        place: Which setting.
        title: Both in words.
        pairs: What was measured, by name.
        failed: Why the others were not.
    """

    table: str
    place: str
    title: str
    pairs: dict[str, Pair] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What ``--only`` and the file call it."""
        return f"{self.table}/{self.place}"


@dataclass(frozen=True)
class Record:
    """A file of parts; those of earlier runs stay until they are measured again.

    Attributes:
        path: The file, or None to write nothing.
        machine: What this run is on; each part says on what it was measured.
        repeat: Runs of each way in this run.
    """

    path: Path | None
    machine: Mapping[str, str | int]
    repeat: int

    def write(self, part: Part) -> None:
        """Put a part into the file as far as it is measured.

        Raises:
            OptionError: If the file is there and holds something else.
        """
        if self.path is None:
            return
        values = {**asdict(part), "machine": dict(self.machine), "repeat": self.repeat}
        parts = {**self.kept(), part.key: values}
        beside = self.path.with_name(f"{self.path.name}.new")
        beside.write_text(json.dumps({"parts": parts}, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)

    def kept(self) -> dict[str, Any]:
        """Return the parts that the file holds.

        Raises:
            OptionError: If the file is there and holds something else.
        """
        if self.path is None or not self.path.exists():
            return {}
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError:
            values = None
        if not isinstance(values, dict) or not isinstance(values.get("parts"), dict):
            raise OptionError(f"{self.path} holds no parts of this benchmark", hint="Name another file.")
        parts: dict[str, Any] = values["parts"]
        return parts


def chosen(parts: Iterable[Part], only: Sequence[str]) -> list[Part]:
    """Return the parts that patterns name, by key or by table; all of them without any.

    Raises:
        OptionError: If a pattern names none.
    """
    names = {part.key: (part, (part.table, part.key)) for part in parts}
    for pattern in only:
        if not any(fnmatch(name, pattern) for _, both in names.values() for name in both):
            raise OptionError(
                f"{pattern!r} names no part", where="option --only", hint=f"There are {', '.join(names)}."
            )
    return [
        part for part, both in names.values() if any(fnmatch(name, pattern) for name in both for pattern in only or "*")
    ]


def measure_all(part: Part, ways: Iterable[tuple[str, Callable[[], Pair]]], record: Record, say: Say) -> None:
    """Measure one way after the other, and write down what there is after each."""
    for name, way in ways:
        say(f"{part.key}: {name}")
        try:
            part.pairs[name] = way()
        except _FAILURES as error:
            part.failed[name] = f"{type(error).__name__}: {error}"
            say(f"{part.key}: {name} FAILED: {part.failed[name]}")
        record.write(part)
        # Models and their scratch folders are in cycles, and the next way needs the room.
        gc.collect()
