"""What a distillation gives."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile.atomic import replacing
from mpccompile.distill import history
from mpccompile.distill.checkpoint import save_tensors
from mpccompile.distill.graphs import weights_of
from mpccompile.errors import DistillationError

if TYPE_CHECKING:
    from mpccompile.distill.config import DistillationConfig
    from mpccompile.distill.history import Record
    from mpccompile.distill.objective import Scores
    from mpccompile.ir.program import Program

WEIGHTS_FILE = "weights.safetensors"
_AGAIN = (
    "Make room or choose another folder, and save it again; what was there before is as it was. A training whose folder"
    " has its checkpoint is not done again: the same call or command only writes the result."
)


@dataclass(frozen=True)
class Distilled:
    """A trained student.

    Attributes:
        program: The student's program with the trained weights.
        history: One record a step.
        config: How it was trained.
        scores: Loss and metric on the validation data, if there was any.
    """

    program: Program
    history: tuple[Record, ...]
    config: DistillationConfig
    scores: Scores | None

    def state_dict(self) -> dict[str, Tensor]:
        """Return the trained weights by their dotted names in the model."""
        return {name: weight.clone() for name, weight in weights_of(self.program.module).items()}

    def load_into(self, model: nn.Module) -> nn.Module:
        """Copy the trained weights into a model of the student's architecture, and return it.

        ``mpccompile.compile(model, gelu=..., softmax=...)`` then needs neither the teacher nor the program. Tied
        weights of the model stay tied; weights that the program does not read stay as they are. What was trained on
        resent hidden states resends them as it was trained: ``config.reuse_scale`` becomes the training's.

        Raises:
            DistillationError: If the model has no weight of a name, or one of another shape; it is left as it was.
        """
        own = dict(model.named_parameters(remove_duplicate=False))
        weights = self.state_dict()
        for name, weight in weights.items():
            if name not in own or own[name].shape != weight.shape:
                shape = f"one of shape {list(own[name].shape)}" if name in own else "none"
                raise DistillationError(
                    f"the weight {name} has shape {list(weight.shape)}, and the model has {shape}",
                    where=name,
                    hint="Load into a copy of the model that the student was made of.",
                )
        with torch.no_grad():
            for name, weight in weights.items():
                own[name].copy_(weight)
        loss, config = self.config.text_loss, getattr(model, "config", None)
        if self.config.text is not None and loss.resent and config is not None:
            config.reuse_scale = loss.scale
        return model

    def save(self, folder: str | Path) -> None:
        """Write ``weights.safetensors``, ``log.csv``, ``config.json`` and the plots ``loss.png`` and ``loss.svg``.

        The weights come first. Each file appears whole or not at all: where one cannot be written, an older one stays.

        Raises:
            DistillationError: If that cannot be done.
        """
        from mpccompile.distill.plot import plot_losses

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_tensors(folder / WEIGHTS_FILE, self.state_dict(), {}, "the trained weights")
            history.write(folder / "log.csv", self.history)
            with replacing(folder / "config.json") as temporary:
                temporary.write_text(json.dumps(asdict(self.config), indent=1) + "\n", encoding="utf-8")
            plot_losses(self.history, folder)
        except OSError as error:
            place = str(error.filename or folder)
            raise DistillationError(
                f"the result cannot be written ({error.strerror})", where=place, hint=_AGAIN
            ) from error
        except DistillationError as error:
            raise DistillationError(error.what, where=error.where, hint=_AGAIN) from error
