"""What this machine has, and whether the parts a private run needs work on it."""

from __future__ import annotations

import importlib
import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

# How /proc/cpuinfo calls what speeds up matrix products modulo 2^64.
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
LARGEST_ERROR = 1e-2
# A product of the attention block of a base-size model, on 128 tokens.
PRODUCT_SHAPE = (128, 768, 768)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        value: What was found.
        works: Whether it does; None for what is only worth knowing.
    """

    name: str
    value: str
    works: bool | None = None


def examine(compute: Callable[[], float]) -> tuple[Finding, ...]:
    """Look at everything.

    Args:
        compute: Runs something privately and returns its largest error.
    """
    versions = [_version(name) for name in ("mpccompile", "torch", "crypten", "transformers")]
    machine = [_processor(), _features(), _cores(), _memory(), _gpu()]
    parts = [_crypten(), _compiled(), _kernel(), _private_run(compute)]
    return (Finding("python", platform.python_version()), *versions, *machine, *parts)


def _version(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", works=False)


def _processor() -> Finding:
    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return Finding("processor", model.group(1) if model else platform.processor() or platform.machine())


def _features() -> Finding:
    line = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    if line is None:
        return Finding("features", "unknown on this system")
    flags = set(line.group(1).split())
    return Finding("features", " ".join(flag for flag in CPU_FLAGS if flag in flags) or "none that matter")


def _cores() -> Finding:
    # What this process may use can be less than what the machine has.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", str(usable))


def _memory() -> Finding:
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE))
    if "MemTotal" not in found:
        return Finding("memory", "unknown on this system")
    total, free = (int(found.get(name, 0)) / 2**20 for name in ("MemTotal", "MemAvailable"))
    return Finding("memory", f"{total:.1f} GiB, {free:.1f} GiB available")


def _gpu() -> Finding:
    try:
        import torch

        if not torch.cuda.is_available():
            return Finding("gpu", "none")
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    except (ImportError, RuntimeError) as error:
        return Finding("gpu", _first_line(error), works=False)
    return Finding("gpu", ", ".join(names))


def _crypten() -> Finding:
    def imported() -> str:
        importlib.import_module("mpccompile.runtime.crypten_bridge")
        return "done"

    return _attempt("crypten import", imported)


def _compiled() -> Finding:
    def built() -> str:
        from mpccompile.runtime.kernels import compiled, tiles

        if compiled.library() is None:
            return "not built: with a C compiler there, install mpccompile again to run more than twice as fast"
        return "built, with a tile unit" if tiles.available() else "built, without a tile unit"

    return _attempt("C kernels", built)


def _kernel() -> Finding:
    def chosen() -> str:
        import torch

        from mpccompile.runtime.kernels import choose

        rows, inner, columns = PRODUCT_SHAPE
        problem = choose.Problem(1, rows, inner, columns, choose.WORD_BITS, choose.WORD_BITS, choose.WORD_BITS)
        return f"{choose.choose(problem, torch.device('cpu'))} for {rows} x {inner} x {columns} modulo 2^64"

    return _attempt("matrix kernel", chosen)


def _private_run(compute: Callable[[], float]) -> Finding:
    def run() -> str:
        error = compute()
        if not error <= LARGEST_ERROR:
            raise ValueError(f"the result is wrong by {error:.2g}")
        return f"largest error {error:.1e}"

    return _attempt("private run", run)


def _attempt(name: str, part: Callable[[], str]) -> Finding:
    try:
        return Finding(name, part(), works=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the doctor is asked to find
        return Finding(name, _first_line(error), works=False)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
