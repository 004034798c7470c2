"""Where the bytes, rounds and seconds of one call went."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from mpccompile.report import compare
from mpccompile.report.compare import Cost
from mpccompile.runtime.ring import WORD_BITS

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.codegen.rehearse import Rounds
    from mpccompile.runtime.session import CallReport
    from mpccompile.runtime.timeline import Span

OUTPUT_OP = "output"
STOCK_LIMITS = (
    "Stock CrypTen is accurate in narrow ranges only, named at the top of its model.py, and says nothing when a value"
    " leaves them."
)


@dataclass(frozen=True)
class Row:
    """The cost of one statement, or of a group of them.

    Attributes:
        op: Operation.
        module_path: Module of the user's model.
        calls: Statements in the group.
        bytes_sent: Bytes sent by (rank 0, rank 1).
        rounds: Rounds.
        seconds: Wall time at rank 0, waiting for rank 1 included.
        offline_seconds: Time making randomness, where that happens statement by statement.
    """

    op: str
    module_path: str
    calls: int
    bytes_sent: tuple[int, int]
    rounds: int
    seconds: float
    offline_seconds: float = 0.0


@dataclass(frozen=True)
class Profile:
    """The measured cost of one call.

    Attributes:
        rows: One per operation of the program, and one for the outputs and the range test.
        online_seconds: From the first input share to the last output share.
        offline_seconds: Making the call's correlated randomness.
        bytes_sent: Online bytes sent by (rank 0, rank 1).
        offline_bytes: Bytes the dealer sends to rank 1.
        rounds: Online rounds.
        static_agrees: Whether the compiler's prediction of bytes and rounds was exact; None where it makes none.
        peak_bytes: Most memory that (rank 0, rank 1) held since it started.
        costs: The same model run by others, where that was asked for; this one first.
        remark: What a reader of the numbers has to know besides.
        wraps: How many values such a call is expected to truncate wrongly; 0 unless parties truncate locally.
        schedule: Rounds of the statements one by one, and of the longest chain of them; None where nothing is known.
        spans: What each process did and when, where that was recorded.
    """

    rows: tuple[Row, ...]
    online_seconds: float
    offline_seconds: float
    bytes_sent: tuple[int, int]
    offline_bytes: int
    rounds: int
    static_agrees: bool | None
    peak_bytes: tuple[int, int] = (0, 0)
    costs: tuple[Cost, ...] = ()
    remark: str = ""
    wraps: float = 0.0
    schedule: Rounds | None = None
    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, package: Package, report: CallReport, wraps: float = 0.0) -> Profile:
        """Join what the parties measured with what the compiler knows of each line."""
        measured = {line: (one, two, rounds) for line, one, two, rounds in report.traffic}
        seconds, offline = dict(report.line_seconds), dict(report.line_offline)
        rows = []
        for statement in package.statements:
            one, two, rounds = measured.get(statement.line, (0, 0, 0))
            spent = seconds.get(statement.line, 0.0)
            apart = offline.get(statement.line, 0.0)
            rows.append(Row(statement.op, statement.module_path, 1, (one, two), rounds, spent, apart))
        one, two, rounds = measured.get(0, (0, 0, 0))
        rest = max(0.0, report.online_seconds - sum(seconds.values()))
        rows.append(Row(OUTPUT_OP, "", 1, (one, two), rounds, rest))
        static = {row.line: (*row.bytes_sent, row.rounds) for row in package.traffic}
        return cls(
            tuple(rows),
            report.online_seconds,
            report.offline_seconds,
            (sum(row[1] for row in report.traffic), sum(row[2] for row in report.traffic)),
            package.offline_bytes if report.offline_bytes is None else report.offline_bytes,
            sum(row[3] for row in report.traffic),
            None if package.options.target == "crypten" else _nonzero(measured) == _nonzero(static),
            report.peak_bytes,
            remark=_remark(package, wraps),
            wraps=wraps,
            schedule=package.rounds,
            spans=report.spans,
        )

    def by_op(self) -> tuple[Row, ...]:
        """Return the cost per kind of operation, most bytes first."""
        return self._grouped(lambda row: (row.op, ""))

    def by_module(self) -> tuple[Row, ...]:
        """Return the cost per module of the user's model, in program order."""
        return tuple(_sum(rows, "", path) for path, rows in _groups(self.rows, lambda row: row.module_path).items())

    def _grouped(self, key: Callable[[Row], tuple[str, str]]) -> tuple[Row, ...]:
        groups = _groups(self.rows, key)
        rows = [_sum(members, op, path) for (op, path), members in groups.items()]
        return tuple(sorted(rows, key=lambda row: (-max(row.bytes_sent), row.op)))

    def cost(self, name: str, max_error: float) -> Cost:
        """Return the totals, to compare with those of another way to run the model."""
        sent = max(self.bytes_sent)
        return Cost(name, self.online_seconds, self.offline_seconds, sent, self.offline_bytes, self.rounds, max_error)

    def table(self) -> Table:
        """Return the cost per kind of operation as a table."""
        table = Table(title="Online cost by operation")
        table.add_column("operation")
        for name in ("calls", "party 0 sends", "party 1 sends", "rounds", "seconds"):
            table.add_column(name, justify="right")
        for row in self.by_op():
            table.add_row(row.op, str(row.calls), *sizes(row.bytes_sent), str(row.rounds), f"{row.seconds:.3f}")
        table.add_section()
        spent = f"{self.online_seconds:.3f}"
        table.add_row("total", str(len(self.rows)), *sizes(self.bytes_sent), str(self.rounds), spent)
        agrees = {None: "", True: " The compiler's prediction was exact.", False: " The compiler's prediction DIFFERS."}
        table.caption = (
            f"Offline the dealer sent {self.offline_bytes / 1e6:.1f} MB"
            f" in {self.offline_seconds:.2f} s.{agrees[self.static_agrees]}{self._saved()}{self.remark}"
        )
        return table

    def _saved(self) -> str:
        """Say what running statements side by side saves, and what no order of them can go below."""
        if self.schedule is None:
            return ""
        chain, apart = self.schedule.longest_chain, self.schedule.one_by_one
        return f" Of the {self.rounds} rounds {chain} are its critical path; one statement at a time takes {apart}."

    def text(self) -> str:
        """Return the tables as plain text."""
        buffer = io.StringIO()
        console = Console(file=buffer, width=100)
        console.print(self.table())
        if self.costs:
            console.print(compare.table(self.costs))
        return buffer.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


def _remark(package: Package, wraps: float) -> str:
    if package.options.target == "crypten":
        return f" {STOCK_LIMITS}"
    if package.options.truncation == "local":
        return (
            f" Values are truncated locally: one is wrong by 2^{WORD_BITS - 2 * package.options.frac_bits} with a"
            f" probability of {-math.expm1(-wraps):.2g} in a call like this one (expected: {wraps:.2g} of them)."
        )
    return ""


def sizes(bytes_sent: tuple[int, int]) -> tuple[str, str]:
    """Return what the two parties send, as text."""
    return f"{bytes_sent[0] / 1e6:.3f} MB", f"{bytes_sent[1] / 1e6:.3f} MB"


def _nonzero(traffic: dict[int, tuple[int, int, int]]) -> dict[int, tuple[int, int, int]]:
    return {line: cost for line, cost in traffic.items() if any(cost)}


def _groups(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _sum(rows: list[Row], op: str, module_path: str) -> Row:
    return Row(
        op,
        module_path,
        len(rows),
        (sum(row.bytes_sent[0] for row in rows), sum(row.bytes_sent[1] for row in rows)),
        sum(row.rounds for row in rows),
        sum(row.seconds for row in rows),
        sum(row.offline_seconds for row in rows),
    )
