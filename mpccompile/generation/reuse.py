"""Private generation by embedding resending: no token is looked at until the text is complete.

The last hidden state stays with the parties as shares and is the next position's embedding. The head is applied once,
to all new positions together; the client learns these logits and picks the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.capture.cached import HIDDEN, ROW_AXIS
from mpccompile.errors import OptionError
from mpccompile.generation.examples import PLACES
from mpccompile.generation.generate import CALIBRATION_TOKENS
from mpccompile.generation.unopened import Inputs, Unopened, public_inputs
from mpccompile.merge.reuse import NextHidden, StartText, TellTokens

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices
    from mpccompile.generation.text import Text
    from mpccompile.ir.program import Program


class ReuseGenerator(Unopened):
    """Continues prompts from hidden states."""

    prefix = "reuse"

    def check(self, choices: Choices) -> None:
        """Refuse to choose tokens in secret: here the client learns the logits when the text is complete."""
        if choices.selection != "client":
            raise OptionError(
                f"selection={choices.selection!r} means nothing with generation='reuse', where no step needs a token",
                where="argument selection",
                hint="Leave one of the two out.",
            )

    def start(self) -> nn.Module:
        """Return what reads a prompt [B, T]."""
        return StartText(self._recipe.model)

    def step(self) -> nn.Module:
        """Return what goes on by one position."""
        return NextHidden(self._recipe.model)

    def step_limits(self, start: Package) -> dict[str, float]:
        """Return what stays of a step: the same as of a prompt."""
        return dict(start.output.resident)

    def step_examples(self, prompts: Sequence[Inputs], capacity: int) -> list[Inputs]:
        """Return inputs of the step as the approximated model itself meets them."""
        return list(self._rollouts(prompts, capacity))

    def end(self, step: Package, length: int, new_tokens: int) -> tuple[nn.Module, Inputs, dict[str, float]]:
        """Return the head for all positions."""
        shape = next(spec.shape for spec in step.inputs if spec.name == HIDDEN)
        # Hidden states of no text in particular: a linear head has no range to calibrate.
        hidden = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        example = {HIDDEN: hidden, "position_ids": self.places(length, new_tokens)}
        return TellTokens(self._recipe.model), example, {HIDDEN: dict(step.output.resident)[HIDDEN]}

    def whole_end(self, step: Package, _rows: int) -> tuple[nn.Module, Inputs, dict[str, float]]:
        """Return the head for one position, of which the client asks for each."""
        return self.end(step, 1, 1)

    def places(self, length: int, new_tokens: int) -> Tensor:
        """Return the positions whose hidden states tell the new tokens: from the prompt's last one on."""
        return torch.arange(length - 1, length - 1 + new_tokens).unsqueeze(0)

    def tell(self, text: Text, outcome: list[Tensor]) -> None:
        """Let the client pick from the logits [B, new, V] of all new positions."""
        for logits in outcome[0].unbind(1):
            text.add(logits)

    def _rollouts(self, prompts: Sequence[Inputs], capacity: int) -> Iterator[Inputs]:
        """Yield inputs of the step, from the whole of each prompt on, from its first half and from its first token.

        The program serves other prompts as well.
        """
        step: _Plain | None = None
        for length in sorted({1, -(-prompts[0]["input_ids"].shape[1] // 2), prompts[0]["input_ids"].shape[1]}):
            cut = [{"input_ids": prompt["input_ids"][:, :length]} for prompt in prompts]
            start = _Plain(self._approximated(StartText(self._recipe.model), cut[0]))
            for prompt in cut:
                left = start(prompt)
                held = {name: _with_room(rows, capacity) for name, rows in left.items()}
                last = max(length + 1, min(length + CALIBRATION_TOKENS, capacity))
                noted = {round(place) for place in torch.linspace(length, last - 1, PLACES).tolist()}
                for position in range(length, last):
                    count = prompt["input_ids"].shape[0]
                    public = public_inputs(count, position, capacity, masked=_is_masked(left))
                    inputs = {HIDDEN: held[HIDDEN], **public, **held}
                    step = step or _Plain(self._approximated(NextHidden(self._recipe.model), inputs))
                    if position in noted:
                        yield {name: value.clone() for name, value in inputs.items()}
                    for name, row in step(inputs).items():
                        held[name][..., position : position + 1, :] = row

    def _approximated(self, reader: nn.Module, inputs: Mapping[str, Tensor]) -> Program:
        options = self._recipe.options
        return compiler.approximate(compiler.recognise(reader, inputs, options), options)


class _Plain:
    """A program that runs in plaintext, by names."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def __call__(self, inputs: Mapping[str, Tensor]) -> Inputs:
        with torch.no_grad():
            answers = self._program.module(*compiler.in_order(self._program, inputs))
        return dict(zip(self._program.output.keys, answers, strict=True))


def _is_masked(rows: Mapping[str, Tensor]) -> bool:
    """Say whether there is attention that needs a mask: keys are kept for it, and for constant attention none."""
    return any(name.startswith("key_") for name in rows)


def _with_room(rows: Tensor, capacity: int) -> Tensor:
    shape = list(rows.shape)
    shape[ROW_AXIS] = capacity
    whole = torch.zeros(shape)
    whole[..., : rows.shape[ROW_AXIS], :] = rows
    return whole
