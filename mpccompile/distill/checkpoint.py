"""Checkpoints that are there whole or not at all: one safetensors file, with the facts in its header."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mpccompile.atomic import replacing
from mpccompile.distill.resume import differences
from mpccompile.errors import DistillationError

FILE = "checkpoint.safetensors"
FINISHED = "finished.safetensors"
"""What the last stage that is done ended with: the next one starts there again when its own settings are changed."""
_FORMAT = "mpccompile-distillation-1"
logger = logging.getLogger(__name__)
CONFIG, VALIDATION = "config", "validation data"
"""Names of fingerprints; that of the config is its JSON."""


@dataclass(frozen=True)
class State:
    """Where a run is.

    Attributes:
        run: Fingerprints of what the run is of, by name.
        stage: Index of the stage.
        step: Steps of the stage that are done.
        total: Steps of all stages that are done.
        best: Best score of the stage so far, lower is better; None when nothing was validated.
        seconds: What all steps took.
    """

    run: dict[str, str]
    stage: int = 0
    step: int = 0
    total: int = 0
    best: float | None = None
    seconds: float = 0.0


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], what: str) -> None:
    """Write a safetensors file: to another name, down to the disk, and only then in the place of the old one.

    Raises:
        DistillationError: If that cannot be done; the old file is as it was.
    """
    try:
        with replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, dict(metadata))
    except (OSError, SafetensorError) as error:
        kept = f" The last {path.name} is still there." if path.exists() else ""
        raise DistillationError(
            f"{what} could not be written ({error})",
            where=str(path),
            hint=f"Make room or choose another folder, and run the same again.{kept}",
        ) from error


def save(folder: Path, tensors: Mapping[str, Tensor], state: State, file: str = FILE) -> None:
    """Write the checkpoint of a run.

    Args:
        folder: Where it goes.
        tensors: What the run goes on with.
        state: Where the run is.
        file: ``FILE``, or ``FINISHED`` at the end of a stage.

    Raises:
        DistillationError: If that cannot be done; the last one is as it was.
    """
    header = {"format": _FORMAT, "state": json.dumps(asdict(state))}
    save_tensors(folder / file, tensors, header, f"the checkpoint of step {state.total}")


def load(folder: Path, run: Mapping[str, str]) -> tuple[State, dict[str, Tensor]] | None:
    """Read the checkpoint of a run; None when there is none.

    Where the settings of a stage have changed that is under way, such as a learning rate that was too high, it is the
    end of the stage before.

    Args:
        folder: Where it is.
        run: Fingerprints of the run that wants to go on.

    Raises:
        DistillationError: If it is of another run, or damaged.
    """
    path, finished = folder / FILE, folder / FINISHED
    if not path.exists():
        return None
    state, tensors = _read(path)
    other = _unlike(state, run)
    if other and finished.exists():
        state, tensors = _read(finished)
        if not _unlike(state, run):
            logger.warning("the stage after step %d starts again: %s", state.total, "; ".join(other))
            return replace(state, run=dict(run)), tensors
    if other:
        raise DistillationError(
            f"the checkpoint is of another run: {'; '.join(other)}",
            where=str(path),
            hint="Choose another folder, or go on with what that run was started with. checkpoint_steps, and the"
            " settings of stages that are not done, may change.",
        )
    return replace(state, run=dict(run)), tensors


def _read(path: Path) -> tuple[State, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT:
                raise DistillationError(
                    "this is no checkpoint of a distillation", where=str(path), hint="Choose another folder."
                )
            state = State(**json.loads(header["state"]))
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DistillationError(
            f"the checkpoint cannot be read ({error})",
            where=str(path),
            hint="It was written whole, so something else has changed it. Restore it from a copy, or delete it to train"
            " again from the start.",
        ) from error


def _unlike(state: State, run: Mapping[str, str]) -> list[str]:
    """Name what would have made another run of what is done."""
    now, validated = json.loads(run[CONFIG]), VALIDATION in state.run
    other = [*differences(json.loads(state.run[CONFIG]), now, stage=state.stage, step=state.step, validated=validated)]
    names = sorted({*run, *state.run} - {CONFIG})
    unlike = [name for name in names if run.get(name) != state.run.get(name)]
    if unlike:
        other.append(f"its {', '.join(unlike)} {'differs' if len(unlike) == 1 else 'differ'}")
    return other


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of tensors and their names."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
