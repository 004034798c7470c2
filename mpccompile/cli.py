"""The ``mpccompile`` command: parses arguments, calls the library, prints."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mpccompile
from mpccompile import debugging
from mpccompile.bench import command as bench
from mpccompile.commands.compile import compile_model
from mpccompile.commands.distilling import distill
from mpccompile.commands.evaluate import evaluate
from mpccompile.commands.export import export
from mpccompile.commands.generate import generate
from mpccompile.commands.parameters import Arrays, AsJson, Device, Folder, Repeat
from mpccompile.commands.passes import passes
from mpccompile.commands.pictures import show
from mpccompile.commands.profile import profile
from mpccompile.commands.tune import tune
from mpccompile.errors import MpcCompileError, OptionError, UnsupportedOp

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

app = typer.Typer(
    name="mpccompile",
    help="Compile PyTorch Transformers into programs that two parties run on secret shares.",
    epilog="Exit codes: 0 it is done; 1 it failed; 2 the command, an option or a value is wrong;"
    " 130 it was interrupted. MPCCOMPILE_DEBUG=1 prints where an unexpected error came from, and how long each step"
    " takes; 2 to 5 tell more of a compilation. Completion for your shell: mpccompile --install-completion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Outputs = Annotated[Path | None, typer.Option("--output", metavar="NPZ", help="Where the outputs go, by name.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="The same on all machines; make it with: mpccompile key FILE.", show_default=False),
]
Wait = Annotated[float, typer.Option("--wait", min=0.1, metavar="SECONDS", help="How long to wait for the others.")]
WAIT_SECONDS = 60.0
WRONG_USAGE = 2
"""As the exit code of a command line that cannot be parsed."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mpccompile {mpccompile.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - the callback has done it
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log what is done; twice for more.")] = 0,
) -> None:
    """Set up logging."""
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger = logging.getLogger("mpccompile")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Train less and classify fewer snippets.")] = False,
    json: AsJson = False,
) -> None:
    """Train a small classifier, compile it, and run it privately."""
    from dataclasses import asdict

    from rich.console import Console

    from mpccompile.commands import show as shown
    from mpccompile.demo.run import BATCH_SIZE, run_demo

    smaller = {"training_steps": 90, "test_snippets": 2 * BATCH_SIZE} if quick else {}
    result = run_demo(Console(stderr=json), **smaller)
    if json:
        shown.as_json(asdict(result))


def run(
    folder: Folder,
    arrays: Arrays = None,
    output: Outputs = None,
    repeat: Repeat = 1,
    device: Device = None,
    json: AsJson = False,
) -> None:
    """Run a package privately, in two parties and a dealer on this machine.

    Example: mpccompile run bert.mpc --input inputs.npz --output outputs.npz
    """
    from mpccompile.commands import show as shown

    if arrays is None:
        raise typer.BadParameter("the inputs are missing", param_hint="--input")
    with shown.stages("starting") as status:
        from mpccompile.commands import files
        from mpccompile.commands.running import run_privately

        files.check_writable(output)
        package, private = files.open_package(folder, device)
        inputs = files.read_inputs(arrays, package)
        outputs, profiles = run_privately(package, private, inputs, repeat, status)
        if output is not None:
            files.write_arrays(output, outputs)
    if json:
        shown.run_json(outputs, profiles)
    else:
        shown.run_text(outputs, profiles, output)


def doctor(json: AsJson = False) -> None:
    """Look at this machine, and run something small privately on it."""
    from dataclasses import asdict

    from mpccompile.commands import show as shown

    with shown.stages("running something small privately"):
        from mpccompile.commands.small import run_privately
        from mpccompile.report.doctor import examine

        findings = examine(run_privately)
    if json:
        shown.as_json([asdict(finding) for finding in findings])
    else:
        shown.findings_text(findings)
    if any(finding.works is False for finding in findings):
        raise typer.Exit(1)


def key(file: Annotated[Path, typer.Argument(help="Where the key goes.", show_default=False)]) -> None:
    """Make a key file for a run over several machines; only its owner can read it.

    Copy it to the machines of both parties and of the dealer, over a line you trust.

    Example: mpccompile key cluster.key
    """
    from mpccompile.runtime.sealed import make_key

    make_key(file)


def dealer(
    folder: Folder,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the parties reach it.", show_default=False)],
    key_file: KeyFile = None,
    wait: Wait = WAIT_SECONDS,
) -> None:
    """Deal the randomness of one run over several machines.

    The dealer learns neither weights nor inputs, as long as it works with neither party. Its copy of the package needs
    manifest.json and plan.json only.

    Example: mpccompile dealer bert.mpc --listen 0.0.0.0:7001 --key-file cluster.key
    """
    from mpccompile.commands import hosts
    from mpccompile.commands import show as shown

    with shown.stages("starting") as status:
        hosts.run_dealer(folder, hosts.Lines(listen, key_file, wait), status.update)


def party(  # noqa: PLR0913, PLR0917 - a flag each
    folder: Folder,
    rank: Annotated[int, typer.Option(min=0, max=1, help="0 owns the weights, 1 the inputs.", show_default=False)],
    dealer: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the dealer is.", show_default=False)],
    peer: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where party 0 listens.", show_default=False)],
    arrays: Arrays = None,
    output: Outputs = None,
    key_file: KeyFile = None,
    wait: Wait = WAIT_SECONDS,
    json: AsJson = False,
) -> None:
    """Run one party of a run over several machines, once.

    Start `mpccompile dealer` and both parties, in any order. Party 1 has the inputs and gets the outputs, and its copy
    of the package needs no weights.safetensors. Party 0 learns the shapes, and inputs that are public.

    Example: mpccompile party bert.mpc --rank 0 --dealer 10.0.0.1:7001 --peer 10.0.0.2:7002 --key-file cluster.key
    """
    from mpccompile.commands import hosts
    from mpccompile.commands import show as shown

    if rank == 1 and arrays is None:
        raise typer.BadParameter("party 1 has the inputs", param_hint="--input")
    if rank == 0 and (arrays is not None or output is not None):
        raise typer.BadParameter("party 0 has neither inputs nor outputs", param_hint="--rank")
    with shown.stages("starting") as status:
        lines = hosts.Lines(dealer, key_file, wait)
        outputs, cost = hosts.run_party(rank, folder, lines, peer, arrays, output, status.update)
    if json:
        shown.run_json(outputs, [cost])
    else:
        shown.run_text(outputs, [cost], output)


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Make a package": (compile_model, export),
    "Use a package": (run, profile, show, generate),
    "Choose, train and measure": (passes, evaluate, tune, distill),
    "Run over several machines": (key, dealer, party),
    "This installation": (demo, doctor),
}
"""The commands in the order that help lists them."""


def _paragraphs(function: Callable[..., None]) -> str:
    """Return a docstring with each paragraph on one line, to be broken as wide as the terminal is."""
    text = inspect.getdoc(function) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


for _panel, _commands in PANELS.items():
    for _command in _commands:
        _name = "compile" if _command is compile_model else _command.__name__
        app.command(_name, help=_paragraphs(_command), rich_help_panel=_panel)(_command)
app.add_typer(bench.app, name="bench", rich_help_panel="This installation")


def main() -> None:
    """Run the command; a mistake of the user's ends in one message."""
    # By default nothing would be cleaned up: the parties would notice, but their folder would stay.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    told = sys.unraisablehook
    sys.unraisablehook = partial(_not_lost, told)
    show_warning = warnings.showwarning
    warnings.showwarning = partial(_warn, show_warning)
    code: int | str | None
    try:
        app()
        code = 0
    except SystemExit as end:
        code = end.code
    except MpcCompileError as error:
        # A list of what has no rule is of use as a whole; below another error's first line is a worker's trace.
        first, _, rest = (str(error), "", "") if isinstance(error, UnsupportedOp) else str(error).partition("\n")
        typer.echo(f"error: {first}", err=True)
        if rest:
            logging.getLogger("mpccompile").info("the rest of the error:\n%s", rest)
        code = WRONG_USAGE if isinstance(error, OptionError) else 1
    except Exception as error:  # noqa: BLE001 - the last resort
        _explain(error)
        code = 1
    finally:
        sys.unraisablehook, warnings.showwarning = told, show_warning
    _leave(code)


def _warn(told: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Tell a warning to the user as a sentence; what warns programmers keeps its place in the source."""
    if category is UserWarning:
        typer.echo(f"warning: {message}", err=True)
    else:
        told(message, category, *place)


AGAIN_SECONDS = 0.05


def _not_lost(told: Callable[[UnraisableHookArgs], None], lost: UnraisableHookArgs) -> None:
    """Interrupt again where Python drops an interrupt, as it does in callbacks of the import system."""
    interrupted = issubclass(lost.exc_type, KeyboardInterrupt | SystemExit)
    if not interrupted or threading.current_thread() is not threading.main_thread():
        told(lost)
        return
    error = lost.exc_value or lost.exc_type()

    def again(_number: int, _frame: object) -> None:
        raise error

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)


NOT_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}
"""What a machine says of itself: full, read-only, not allowed, too much of it open."""


def _explain(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in NOT_OURS and not debugging.shows(debugging.TIMINGS):
        place = f" at {error.filename}" if error.filename else ""
        typer.echo(f"error: the system says: {error.strerror}{place}.", err=True)
    else:
        _apologise(error)


def _apologise(error: Exception) -> None:
    if debugging.shows(debugging.TIMINGS):
        traceback.print_exception(error)
    first = (str(error).splitlines() or [""])[0]
    typer.echo(f"error: {type(error).__name__}: {first}", err=True)
    typer.echo("This is a mistake in mpccompile. Please report it, with what MPCCOMPILE_DEBUG=1 prints.", err=True)


def _leave(code: int | str | None) -> None:
    """End the process, even where torch.distributed still waits for a party that is gone."""
    hosts = sys.modules.get("mpccompile.runtime.hosts")
    if hosts is not None and any(thread.name == hosts.THREAD_NAME for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
    sys.exit(code)


if __name__ == "__main__":
    main()
