"""The parts of a benchmark that is written down as it goes, so that a later failure loses nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpccompile.errors import OptionError

if TYPE_CHECKING:
    from mpccompile.report.compare import Cost


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
