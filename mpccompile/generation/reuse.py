"""Private generation by embedding resending: no token is looked at until the text is complete.

The last hidden state stays with the parties as shares and is the next position's embedding. The head is applied once,
to all new positions together; the client learns these logits and picks the tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mpccompile import compiler
from mpccompile.capture.cached import ROW_AXIS
from mpccompile.errors import MpcCompileError, OptionError
from mpccompile.generation.examples import PLACES, prompts_of
from mpccompile.generation.generate import CALIBRATION_TOKENS, Recipe, Runner
from mpccompile.generation.requests import check_compilable, check_prompt
from mpccompile.generation.text import Text
from mpccompile.merge.reuse import HIDDEN, NextHidden, StartText, TellTokens
from mpccompile.options import EXACT, REPLACED, Options

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.choices import Choices
    from mpccompile.ir.program import Program

Inputs = dict[str, Tensor]


class ReuseGenerator:
    """Continues prompts privately from hidden states. Programs are compiled when they are first needed, and kept.

    The parties learn how long the prompt is and how many tokens are added, and nothing of which. A text always takes
    ``max_new_tokens`` steps: nobody knows of its end before it is complete.

    Args:
        recipe: What to compile.
        run: Runs a package.
    """

    def __init__(self, recipe: Recipe, run: Runner) -> None:
        check_compilable(recipe)
        self._recipe = recipe
        self._run = run
        self._starts: dict[tuple[int, int], Package] = {}
        self._steps: dict[tuple[int, int], Package] = {}
        self._ends: dict[tuple[int, int, int], Package] = {}
        self._lock = threading.Lock()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The programs made so far: those that read a prompt, those that go on, those that tell the tokens."""
        return (*self._starts.values(), *self._steps.values(), *self._ends.values())

    def generate(self, input_ids: Tensor, choices: Choices) -> Tensor:
        """Return the prompt [B, T] and what follows it, [B, T + new].

        Raises:
            InputError: If the prompt is empty or too long, or an id is outside the vocabulary.
            MpcCompileError: If a call fails; ``generated`` has the prompt, since no token was known yet.
        """
        check_prompt(self._recipe, input_ids, choices)
        with self._lock:
            text = Text(input_ids, choices)
            try:
                for logits in self._logits(input_ids, choices).unbind(1):
                    text.add(logits)
            except MpcCompileError as error:
                error.generated = text.ids
                raise
            finally:
                text.end()
            return text.ids

    def token_program(self, rows: int) -> Package:
        """Refuse to make a package of one program: resending takes three.

        Raises:
            OptionError: Always.
        """
        raise OptionError(
            f"a package that generates {rows} tokens cannot go on from hidden states",
            where="option generation",
            hint="Leave the option out, or generate from the model.",
        )

    def _logits(self, ids: Tensor, choices: Choices) -> Tensor:
        """Return the logits [B, new, V] of all new positions."""
        count, length = ids.shape
        start, step, end = self._programs(ids, choices.max_new_tokens)
        self._run(start, {"input_ids": ids}, 0)
        for position in range(length, length + choices.max_new_tokens - 1):
            self._run(step, _public_inputs(step, count, position), position)
        rows = length + choices.max_new_tokens - 1
        (logits,) = self._run(end, {"position_ids": _places(length, choices.max_new_tokens)}, rows)
        return logits

    def _programs(self, ids: Tensor, new_tokens: int) -> tuple[Package, Package, Package]:
        count, length = int(ids.shape[0]), int(ids.shape[1])
        rows = length + new_tokens - 1
        capacity = min((key[1] for key in self._steps if key[0] == count and key[1] >= rows), default=0)
        capacity = capacity or self._recipe.capacity(rows)
        prompts = list(prompts_of(self._texts(ids), (count, length)))
        if (count, length) not in self._starts:
            self._starts[count, length] = self._compile(
                StartText(self._recipe.model), prompts, dict.fromkeys(self._names(prompts[0]), 1.0)
            )
        start = self._starts[count, length]
        if (count, capacity) not in self._steps or not _takes(self._steps[count, capacity], start):
            examples = list(self._rollouts(prompts, capacity))
            step = NextHidden(self._recipe.model)
            self._steps[count, capacity] = self._compile(step, examples, dict(start.output.resident))
        step_package = self._steps[count, capacity]
        key = (count, capacity, new_tokens)
        if key not in self._ends or not _takes(self._ends[key], step_package):
            self._ends[key] = self._compile_end(step_package, _places(length, new_tokens))
        return start, step_package, self._ends[key]

    def _texts(self, ids: Tensor) -> list[Tensor]:
        return [example for example in self._recipe.examples if example.shape[1] >= ids.shape[1]] or [ids]

    def _names(self, prompt: Inputs) -> tuple[str, ...]:
        """Return what a prompt leaves, by name."""
        with torch.no_grad():
            return tuple(StartText(self._recipe.model).eval()(**prompt))

    def _rollouts(self, prompts: Sequence[Inputs], capacity: int) -> Iterator[Inputs]:
        """Yield inputs of the step as the approximated model itself meets them.

        From the whole of each prompt on, from its first half and from its first token: the program serves other
        prompts as well.
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
                    public = _public(prompt["input_ids"].shape[0], position, capacity, masked=_is_masked(left))
                    inputs = {HIDDEN: held[HIDDEN], **public, **held}
                    step = step or _Plain(self._approximated(NextHidden(self._recipe.model), inputs))
                    if position in noted:
                        yield {name: value.clone() for name, value in inputs.items()}
                    for name, row in step(inputs).items():
                        held[name][..., position : position + 1, :] = row

    def _approximated(self, reader: nn.Module, inputs: Mapping[str, Tensor]) -> Program:
        options = self._recipe.options
        return compiler.approximate(compiler.recognise(reader, inputs, options), options)

    def _compile_end(self, step: Package, places: Tensor) -> Package:
        shape = next(spec.shape for spec in step.inputs if spec.name == HIDDEN)
        limits = dict(step.output.resident)
        # Hidden states of no text in particular: a linear head has no range to calibrate.
        example = {HIDDEN: torch.randn(shape, generator=torch.Generator().manual_seed(0)), "position_ids": places}
        # The head has none of the functions that options may replace, and a pattern that matches nothing is refused.
        plain = Options.merged(self._recipe.options, dict.fromkeys(REPLACED, EXACT))
        return self._compile(TellTokens(self._recipe.model), [example], {HIDDEN: limits[HIDDEN]}, plain)

    def _compile(
        self,
        reader: nn.Module,
        examples: Sequence[Inputs],
        resident: Mapping[str, float],
        options: Options | None = None,
    ) -> Package:
        recipe = self._recipe
        folder = recipe.folder / f"reuse{len(self.packages)}"
        first, *others = examples
        return compiler.build(
            reader,
            first,
            folder,
            options=options or recipe.options,
            passes=recipe.passes,
            calibration=others,
            resident=resident,
        )


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


def _public(count: int, position: int, capacity: int, *, masked: bool) -> Inputs:
    """Return what a step takes besides what stays with the parties."""
    inputs = {"position_ids": torch.full((count, 1), position)}
    if masked:
        mask = torch.zeros(count, capacity + 1, dtype=torch.long)
        mask[:, :position] = 1
        mask[:, -1] = 1
        inputs["attention_mask"] = mask
    return inputs


def _public_inputs(step: Package, count: int, position: int) -> Inputs:
    shapes = {spec.name: spec.shape for spec in step.inputs}
    return _public(count, position, shapes[HIDDEN][1], masked="attention_mask" in shapes)


def _with_room(rows: Tensor, capacity: int) -> Tensor:
    shape = list(rows.shape)
    shape[ROW_AXIS] = capacity
    whole = torch.zeros(shape)
    whole[..., : rows.shape[ROW_AXIS], :] = rows
    return whole


def _places(length: int, new_tokens: int) -> Tensor:
    """Return the positions [1, new] whose hidden states tell the new tokens: from the prompt's last one on."""
    return torch.arange(length - 1, length - 1 + new_tokens).unsqueeze(0)


def _takes(later: Package, earlier: Package) -> bool:
    """Say whether what one program may leave is within what was proven for the program that reads it."""
    limits = {spec.name: spec.limit for spec in later.inputs if spec.resident}
    left = dict(earlier.output.resident)
    return all(left[name] <= (limit or 0.0) for name, limit in limits.items())
