"""The choices of a distillation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from mpccompile.distill.text_config import ALIGNED, MERGE_INTENDED, TextLoss
from mpccompile.errors import OptionError

_CHOICES: dict[str, tuple[str, ...]] = {
    "select": ("loss", "metric", "last"),
    "task": ("auto", "classification", "regression"),
    "precision": ("float32", "bfloat16"),
}


@dataclass(frozen=True)
class Stage:
    """One stretch of training with an optimizer of its own.

    Attributes:
        epochs: Times through the data.
        learning_rate: Its highest value.
        schedule: ``"constant"``, or ``"linear"``: down to 0 at the last step.
        warmup: Share of the steps in which the learning rate rises from 0, in either schedule.
    """

    epochs: int
    learning_rate: float
    schedule: Literal["constant", "linear"] = "constant"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in {"constant", "linear"}:
            raise OptionError(f"schedule={self.schedule!r} is not a choice", hint="Use constant or linear.")
        if self.epochs < 1:
            raise OptionError(f"epochs={self.epochs} is below 1", hint="Give None for a stage that is left out.")
        if not 0 < self.learning_rate < math.inf:
            raise OptionError(f"learning_rate={self.learning_rate} is not above 0")
        if not 0 <= self.warmup < 1:
            raise OptionError(f"warmup={self.warmup} is not a share below 1")

    def factor(self, step: int, steps: int) -> float:
        """Return the learning rate of step ``step`` (from 0) of ``steps``, as a share of its highest value."""
        warm = int(self.warmup * steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        if self.schedule == "constant":
            return 1.0
        return (steps - step) / max(1, steps - warm)


@dataclass(frozen=True)
class DistillationConfig:
    """How a student is distilled.

    The two stages, and the defaults of their learning rates, are those of Li et al., "MPCFormer: fast, performant and
    private Transformer inference with MPC" (ICLR 2023); what the code of that paper does beside its text is off here,
    and :meth:`mpcformer` turns it on. Its batches are of 32: the batch is that of the student's example inputs. Its
    epochs depend on the data: 5 to 100 for ``layers``, 5 for ``logits``.

    Attributes:
        layers: First stage: squared error of attention scores and hidden states.
        logits: Second stage: the teacher's answers.
        labels: Third stage, for comparison: the data's labels, no teacher.
        text: Stage of language models: the tokens that come next, as ``text_loss`` says. Without labels in the data
            they are its own tokens; labels have what comes after each token.
        text_loss: What the stage of text minimises.
        temperature: Divides both logits before their softmax.
        weight_decay: AdamW's, for weights of two dimensions or more; biases and norms have none.
        gradient_norm: Gradients are scaled down to this norm.
        seed: Orders the data and chooses what dropout drops.
        select: Which weights a stage ends with, if there is validation data: those of the lowest validation ``"loss"``
            or of the best ``"metric"`` (accuracy or correlation; needs labels, and the first stage uses the loss), or
            the ``"last"``.
        holdout: Share of the data that becomes the validation data when none is given.
        evaluate_steps: Steps between validations; None validates after each epoch.
        checkpoint_steps: Most steps that a kill can lose.
        task: ``"auto"`` takes one logit for regression.
        count_padding: MPCFormer's: padding counts in the first stage; masked scores count as 0.
        mean_over_classes: MPCFormer's: the second loss is divided by the number of classes.
        regression_on_labels: MPCFormer's: the second stage of a regression learns the labels, not the teacher.
        dropout: Share of the student's attention probabilities, and of what its layers add to the residual, that is
            dropped in training. Its layers are the teacher's: without a teacher there is none.
        teacher_dropout: MPCFormer's teacher runs with dropout too: the same share of the teacher.
        device: Where to train, ``"cpu"`` or ``"cuda"``. A resumed run is the same bit for bit
            on the CPU, with as many threads.
        precision: In what the products of a training step are computed. Weights, losses and validations stay float32.
            ``"bfloat16"`` is for processors that are faster at it, such as CPUs with AMX.
    """

    layers: Stage | None = Stage(10, 5e-5)
    logits: Stage | None = Stage(5, 1e-5, "linear", 0.1)
    labels: Stage | None = None
    text: Stage | None = None
    text_loss: TextLoss = ALIGNED
    temperature: float = 1.0
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    seed: int = 42
    select: Literal["loss", "metric", "last"] = "loss"
    holdout: float = 0.0
    evaluate_steps: int | None = None
    checkpoint_steps: int = 200
    task: Literal["auto", "classification", "regression"] = "auto"
    count_padding: bool = False
    mean_over_classes: bool = False
    regression_on_labels: bool = False
    dropout: float = 0.0
    teacher_dropout: float = 0.0
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"{name}={getattr(self, name)!r} is not a choice", hint=f"Use one of {', '.join(allowed)}."
                )
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise OptionError(f"device={self.device!r} is not a device", hint="Use cpu, cuda or cuda:0.")
        if not self.stages():
            raise OptionError("there is no stage to train", hint="Give layers, logits, labels or text.")
        for name in ("temperature", "gradient_norm", "checkpoint_steps"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name}={getattr(self, name)} is not above 0")
        if self.evaluate_steps is not None and self.evaluate_steps < 1:
            raise OptionError(f"evaluate_steps={self.evaluate_steps} is below 1")
        for name in ("holdout", "dropout", "teacher_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is not a share below 1")

    def stages(self) -> tuple[tuple[str, Stage], ...]:
        """Return the stages there are, by name, in order."""
        named = (("layers", self.layers), ("logits", self.logits), ("labels", self.labels), ("text", self.text))
        return tuple((name, stage) for name, stage in named if stage is not None)

    @classmethod
    def merge(cls, *, epochs: int, loss: TextLoss = MERGE_INTENDED, **changes: Any) -> DistillationConfig:
        """Return how MERGE trains on text: see :mod:`mpccompile.distill.text_config` for its two settings of noise.

        AdamW at 8e-5 all along, with batches of 32 (the batch is that of the student's example inputs), 50,000 steps
        or more; the weights of the lowest validation loss.
        """
        plain = cls(layers=None, logits=None, text=Stage(epochs, 8e-5), text_loss=loss)
        return replace(plain, **changes)

    @classmethod
    def mpcformer(cls, *, layer_epochs: int, dropout: float = 0.1, **changes: Any) -> DistillationConfig:
        """Return what the published code of MPCFormer does, quirks included.

        Its student and its teacher run with dropout, padding counts, losses are means over the classes too, and the
        second stage keeps the weights that score best on the validation set every 100 steps: report on other data.
        """
        quirks = cls(
            layers=Stage(layer_epochs, 5e-5),
            dropout=dropout,
            teacher_dropout=dropout,
            count_padding=True,
            mean_over_classes=True,
            regression_on_labels=True,
            select="metric",
            evaluate_steps=100,
        )
        return replace(quirks, **changes)
