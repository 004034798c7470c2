"""What a user holds: a model that runs on secret shares when it is called."""

from __future__ import annotations

import inspect
import logging
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor, nn

from mpccompile import approximations, compiler
from mpccompile.codegen import package as packages
from mpccompile.codegen.answer import located, rebuild
from mpccompile.codegen.inputs import check_values, checked
from mpccompile.codegen.processes import session_for
from mpccompile.codegen.shapes import Shapes, shape_error, shape_key, shapes_of
from mpccompile.debugging import TIMINGS, tell, timed
from mpccompile.errors import InputError, MpcCompileError, PartyLost
from mpccompile.generation import saved
from mpccompile.generation.choices import Choices
from mpccompile.generation.generate import Recipe
from mpccompile.generation.prompts import given_prompts, prompts_in
from mpccompile.generation.ways import Ways
from mpccompile.ir.program import Secrecy
from mpccompile.options import Options
from mpccompile.report import compare
from mpccompile.report.profile import Profile
from mpccompile.report.profiling.breakdown import breakdown
from mpccompile.runtime.session import CallReport, Session
from mpccompile.simulation.fixed_point import FixedPointProgram
from mpccompile.simulation.float_point import InFloat32

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package
    from mpccompile.generation.saved import AnyReader
    from mpccompile.generation.ways import AnyGenerator
    from mpccompile.report.compare import Cost

logger = logging.getLogger(__name__)

Signature = tuple[Shapes, str]
"""What a program is compiled for: the shapes of the tensors, and the values of what is baked in."""


class PrivateModel:
    """A compiled model; calling it runs two parties and a dealer on this machine.

    Programs are made per input shape, on the first call that brings it, and kept. The processes start with the first
    call and stay until :meth:`close`, the end of a ``with`` block, or the end of the program.
    """

    def __init__(
        self,
        model: nn.Module | None,
        options: Options,
        passes: Sequence[compiler.Pass],
        calibration: Iterable[Mapping[str, Tensor]] = (),
    ) -> None:
        self._model = model
        self._options = options
        self._passes = passes
        self._calibration = tuple(calibration)
        self._packages: dict[Signature, Package] = {}
        self._session: Session | None = None
        self._scratch: Path | None = None
        self._last: tuple[Package, CallReport, dict[str, Tensor]] | None = None
        self._recording = False
        self._ways: Ways | None = None
        self._generator: AnyGenerator | AnyReader | None = None
        self._writing = threading.Lock()

    @classmethod
    def from_package(cls, package: Package) -> PrivateModel:
        """Wrap a package read from disk."""
        private = cls(None, package.options, ())
        private._packages[shapes_of(package), ""] = package
        return private

    def __call__(self, *args: Tensor, **kwargs: Any) -> Any:
        """Run privately and return what the model would return.

        Raises:
            InputError: If an input is missing, unknown or of the wrong shape or dtype.
            PartyLost: If a party or the dealer ends.
            RangeExceeded: If a private value leaves its calibrated range.
        """
        package, inputs = self._package_for(self._named(args, kwargs))
        outputs = self._run(package, inputs)
        return rebuild(package.output, outputs)

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **choices: Any) -> Tensor:
        """Return prompts [B, T] with the tokens that follow, [B, T + new]; the client picks each from its logits.

        A model with an encoder (T5) reads them as sources, and what is returned are its answers [B, 1 + new].

        Args:
            input_ids: The prompts; texts of a batch are equally long.
            attention_mask: A tokenizer's, which may hide nothing but the padding of sources. All parties learn it.
            choices: As in transformers: the fields of :class:`mpccompile.generation.choices.Choices`.

        Raises:
            InputError: If the prompt is empty, too long or padded, or an id is outside the vocabulary.
            OptionError: If a choice is unknown or means nothing.
            PartyLost: If a party or the dealer ends; ``generated`` has the ids up to then.
            RangeExceeded: If a private value leaves its calibrated range; it has ``generated`` too.
        """
        chosen = Choices.named(choices)
        ids, mask = given_prompts(input_ids, attention_mask)
        # The parties hold the rows of one text, whichever way it goes on.
        with self._writing:
            self._generator = self._generator_for(chosen)
            return self._generator.generate(ids, chosen, mask)

    def _generator_for(self, choices: Choices) -> AnyGenerator | AnyReader:
        if self._model is None:
            return self._generator or saved.reader_of(self._current(), self._run)
        if self._ways is None:
            examples = tuple(prompts_in(self._calibration))
            self._ways = Ways(Recipe(self._model, self._options, self._passes, self._folder(), examples), self._run)
        return self._ways.way(choices)

    def save_generator(self, folder: str | Path, tokens: int, **choices: Any) -> None:
        """Write a package of texts of up to ``tokens`` tokens, prompt included; the choice is ``selection`` alone.

        Of a model with an encoder these are answers, of so many new tokens, to sources as long as the longest example.

        Raises:
            OptionError: If no example prompts were given, or the model has fewer positions, or it is another choice.
        """
        saved.write(self._generator_for(Choices.of_package(choices)), tokens, Path(folder))

    def compile_for(self, inputs: Mapping[str, Any] | Sequence[Any]) -> Package:
        """Compile for inputs of these shapes now, calibrating on them, and return the package."""
        named = dict(inputs) if isinstance(inputs, Mapping) else self._named(tuple(inputs), {})
        return self._package_for(named)[0]

    def calibrate_and_compile(self, examples: Sequence[Any]) -> None:
        """Compile for each shape among the examples, calibrating on all examples of that shape.

        Args:
            examples: Each a dict of inputs, a tuple of positional ones, or a single tensor.
        """
        batches = [self._batch(example) for example in examples]
        self._calibration = tuple(batches)
        for batch in reversed(batches):
            self._package_for(batch)

    def _batch(self, example: Any) -> dict[str, Any]:
        if isinstance(example, Tensor):
            return self._named((example,), {})
        return self._named((), dict(example)) if isinstance(example, Mapping) else self._named(tuple(example), {})

    def prepare(self, calls: int = 1) -> None:
        """Do the offline phase of the next calls now, for the shape used last."""
        package = self._current()
        self._loaded(package).prepare(_program_name(package), calls)

    def save(self, folder: str | Path) -> None:
        """Write the package of the shape used last to ``folder``."""
        packages.copy(self._current(), Path(folder))

    def last_profile(self) -> Profile:
        """Return the profile of the last call.

        Raises:
            MpcCompileError: If there was none.
        """
        if self._last is None:
            raise MpcCompileError("nothing has run yet", hint="Call the private model first.")
        package, report, inputs = self._last
        return Profile.of(package, report, self._expected_wraps(package, inputs))

    def _expected_wraps(self, package: Package, inputs: Mapping[str, Tensor]) -> float:
        """Return how many values of such a call are expected to be truncated wrongly, by simulating it."""
        if package.options.truncation == "exact" or package.options.target == "crypten":
            return 0.0
        return FixedPointProgram(package)(inputs).wraps

    def profile(
        self,
        *args: Tensor,
        against: Sequence[str] = (),
        repeat: int = 3,
        timeline: bool = False,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> Profile:
        """Run once and return where bytes, rounds and seconds went.

        Args:
            args: Inputs, as in a call.
            against: Other ways to run the same model, in turn with this one, and to compare it with: ``"plaintext"``
                torch, stock ``"crypten"``, and this program on ``"cuda"``.
            repeat: How often each is run then; medians are kept.
            timeline: Whether to record when each statement ran and each message went, for :meth:`save_profile`.
            model: The torch model that a package is of; without it the package's own program in float32 is plaintext.
            kwargs: Inputs, as in a call.
        """
        self._recording = timeline
        try:
            if not against:
                self(*args, **kwargs)
                return self.last_profile()
            costs = self._compared(model or self._model, self._named(args, kwargs), against, repeat)
        finally:
            self._recording = False
        return replace(self.last_profile(), costs=costs)

    def _compared(
        self, model: nn.Module | None, inputs: Mapping[str, Any], against: Sequence[str], repeat: int
    ) -> tuple[Cost, ...]:
        package = self._package_for(inputs)[0]
        ways = {"this program": self, **{name: self._rival(name, package, model) for name in against}}
        try:
            return compare.in_turn(InFloat32(package) if model is None else model, inputs, ways, repeat)
        finally:
            for rival in ways.values():
                if rival is not None and rival is not self:
                    rival.close()

    def _rival(self, name: str, package: Package, model: nn.Module | None) -> PrivateModel | None:
        if name == "plaintext":
            return None
        if name == "cuda":
            return PrivateModel.from_package(replace(package, options=replace(package.options, device=name)))
        if name != "crypten":
            raise InputError(f"against={name!r} is not a choice", hint="Use plaintext, crypten or cuda.")
        if model is None:
            raise InputError("a package holds no torch model for stock CrypTen to run", hint="Give the model as well.")
        changes = {"target": "crypten", "dealer": "insecure-local", "frac_bits": Options.frac_bits, "device": "cpu"}
        rival = PrivateModel(model, Options.merged(self._options, changes), ())
        rival._session = Session(stock="TFP")
        return rival

    def save_profile(
        self,
        profile: Profile,
        *,
        html: str | Path | None = None,
        trace: str | Path | None = None,
        charts: str | Path | None = None,
        csv: str | Path | None = None,
    ) -> None:
        """Write what :meth:`profile` returned of the last call to files; see :mod:`mpccompile.report.profiling`.

        Args:
            profile: The profile; one with its timeline, for a trace.
            html: A page with everything, in one file.
            trace: What Perfetto (ui.perfetto.dev) and chrome://tracing open.
            charts: A folder for every chart, as PNG and SVG.
            csv: A row for each statement.
        """
        from mpccompile.report.profiling.files import Files, write

        write(breakdown(self._current(), profile), Files.named(html=html, trace=trace, charts=charts, csv=csv))

    def report(self) -> str:
        """Return the profile of the last call as text."""
        return self.last_profile().text()

    def close(self) -> None:
        """Stop the parties and the dealer; another call would start them again."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def model(self) -> nn.Module | None:
        """The torch model, or None where a package was loaded."""
        return self._model

    @property
    def packages(self) -> tuple[Package, ...]:
        """The packages made so far, one per input shape."""
        return tuple(self._packages.values())

    @property
    def load_bytes(self) -> int:
        """What rank 0 has sent rank 1 to load the programs, once for all calls."""
        return 0 if self._session is None else self._session.load_bytes

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in kwargs.items() if value is not None}
        names = self._argument_names()
        unknown = sorted(set(given) - set(names))
        if unknown and not self._takes_any_name():
            raise InputError(f"there is no input {', '.join(unknown)}", hint=f"The inputs are {', '.join(names)}.")
        if len(args) > len(names):
            raise InputError(f"{len(args)} inputs are given, the model takes {', '.join(names)}")
        named = dict(zip(names, args, strict=False))
        twice = sorted(set(named) & set(given))
        if twice:
            raise InputError(f"input {', '.join(twice)} is given twice")
        return {**named, **given}

    def _argument_names(self) -> list[str]:
        if self._model is None:
            return [spec.name for spec in self._current().inputs]
        parameters = inspect.signature(self._model.forward).parameters.values()
        return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]

    def _takes_any_name(self) -> bool:
        if self._model is None:
            return False
        return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self._model.forward).parameters.values())

    def _package_for(self, given: Mapping[str, Any]) -> tuple[Package, dict[str, Tensor]]:
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        others = sorted(set(given) - set(tensors))
        if self._model is None and others:
            raise InputError(f"input {', '.join(others)} is not a tensor")
        # Before anything is compiled: ranges must not be calibrated on NaN.
        for name, value in tensors.items():
            check_values(name, value, self._options.frac_bits)
        shapes = shape_key(tensors)
        signature = (shapes, ", ".join(f"{name}={given[name]!r}" for name in others))
        if signature not in self._packages:
            self._packages[signature] = self._compile(given, shapes)
        package = self._packages[signature]
        return package, checked(package, tensors)

    def _compile(self, given: Mapping[str, Any], shapes: Shapes) -> Package:
        if self._model is None:
            raise shape_error(self._current(), shapes)
        if self._packages:
            logger.info("new input shapes %s: capturing again", dict(shapes))
        folder = self._folder() / f"program{len(self._packages)}"
        same = [batch for batch in self._calibration if shape_key(batch) == shapes]
        return compiler.build(self._model, given, folder, options=self._options, passes=self._passes, calibration=same)

    def _folder(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="mpccompile-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    def _run(self, package: Package, inputs: dict[str, Tensor], first_row: int | None = None) -> list[Tensor]:
        if first_row and (self._session is None or self._session.closed):
            raise PartyLost("the parties were stopped in the middle of a text, whose rows went with them")
        session = self._loaded(package)
        session.recording = self._recording
        public = frozenset(spec.name for spec in package.inputs if spec.secrecy is Secrecy.PUBLIC)
        try:
            outputs, report = session.run(_program_name(package), inputs, public, first_row)
        except MpcCompileError as error:
            raise located(package, error) from None
        tell(TIMINGS, f"call: {report.online_seconds:.3f} s online, {report.offline_seconds:.3f} s offline")
        self._last = (package, report, inputs)
        return outputs

    def _loaded(self, package: Package) -> Session:
        if self._session is None or self._session.closed:
            with timed("start"):
                self._session = session_for(self._options)
        if not self._session.is_loaded(_program_name(package)):
            with timed("load"):
                self._session.load(_program_name(package), package.folder)
        return self._session

    def _current(self) -> Package:
        if self._last is not None and any(self._last[0] is package for package in self.packages):
            return self._last[0]
        if not self._packages:
            raise MpcCompileError(
                "nothing has been compiled yet", hint="Give example_inputs to compile, or call the private model first."
            )
        return next(reversed(self._packages.values()))


def _program_name(package: Package) -> str:
    return str(package.folder.resolve())


def make(
    model: nn.Module, example_inputs: Any, options: Options, passes: Sequence[compiler.Pass] | None
) -> PrivateModel:
    """Build a private model; see :func:`mpccompile.compile`."""
    given = [] if example_inputs is None else [example_inputs]
    examples = list(example_inputs) if isinstance(example_inputs, list) else given
    chosen = (*compiler.passes_for(options), *(passes or ()))
    private = PrivateModel(model, approximations.check(options), chosen)
    private.calibrate_and_compile(examples)
    return private
