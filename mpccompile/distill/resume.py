"""Which settings a run may change when it goes on: those that what it has done so far did not depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

STAGES = ("layers", "logits", "labels", "text")
_OF_ALL = (
    "weight_decay",
    "gradient_norm",
    "seed",
    "holdout",
    "task",
    "dropout",
    "teacher_dropout",
    "device",
    "precision",
)
_OF_VALIDATION = ("select", "evaluate_steps")
"""They choose the weights that a stage ends with, if there is something to validate on."""
_OF_STAGE = {
    "layers": ("count_padding",),
    "logits": ("count_padding", "temperature", "mean_over_classes", "regression_on_labels"),
    "labels": (),
    "text": ("text_loss",),
}


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, stage: int, step: int, validated: bool
) -> Iterator[str]:
    """Name every setting that differs and has had an effect, with its old and its new value.

    Free to change are ``checkpoint_steps``, the settings of stages that have not begun, and those of the losses that
    only such stages have.

    Args:
        before: The config of the run as a dict, its stages too.
        now: That of the run that wants to go on.
        stage: Index of the stage that the run is in, or of the next.
        step: Steps of it that are done.
        validated: Whether there is validation data.
    """
    begun = _begun(before, stage + (step > 0))
    # A stage that is put before one that has begun would have changed it.
    last = max((STAGES.index(name) for name in begun), default=-1)
    for name in STAGES[: last + 1]:
        yield from _stage_differences(name, before.get(name), now.get(name))
    names = [*_OF_ALL, *(_OF_VALIDATION if validated else ())]
    names += dict.fromkeys(name for each in begun for name in _OF_STAGE[each])
    for name in names:
        if before.get(name) != now.get(name):
            yield _said(name, before.get(name), now.get(name))


def _begun(config: Mapping[str, Any], count: int) -> list[str]:
    return [name for name in STAGES if config.get(name) is not None][:count]


def _stage_differences(name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Iterator[str]:
    if before is None or now is None:
        if before != now:
            yield f"{name} was {'a stage' if before else 'left out'} and is {'a stage' if now else 'left out'}"
        return
    for field in dict.fromkeys((*before, *now)):
        if before.get(field) != now.get(field):
            yield _said(f"{name}.{field}", before.get(field), now.get(field))


def _said(name: str, before: object, now: object) -> str:
    return f"{name} was {before} and is {now}"
