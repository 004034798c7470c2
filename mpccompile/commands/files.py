"""What commands read and write: factories, arrays and package folders."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mpccompile import approximations
from mpccompile.atomic import replacing
from mpccompile.capture.from_onnx.names import identifier
from mpccompile.codegen import package as packages
from mpccompile.data.table import Named
from mpccompile.errors import InputError, MpcCompileError, OptionError
from mpccompile.ir.program import OutputSpec
from mpccompile.options import EVERYWHERE, REPLACED, Options
from mpccompile.private import PrivateModel

if TYPE_CHECKING:
    from mpccompile.codegen.package import Package

_TRIED_BYTES = 1 << 16
_NARROWED = (torch.float64, torch.float16, torch.bfloat16)


def load_model(name: str) -> tuple[nn.Module, dict[str, Any] | None]:
    """Call the factory ``package.module:function`` and return its model, and its example inputs if it gives any.

    Raises:
        OptionError: If there is no such thing, or it makes no model.
        MpcCompileError: If it fails.
    """
    made = _made(named(name, "factory"), name)
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)  # noqa: PLR2004 - a pair
    if not isinstance(model, nn.Module):
        raise OptionError(
            f"what {name} returns is {_kind(made)}",
            hint="It should return a torch.nn.Module, or a pair of one and a dict of example inputs.",
        )
    if inputs is None:
        return model, None
    if not isinstance(inputs, Mapping):
        raise OptionError(f"the example inputs of {name} are {_kind(inputs)}", hint="They should be a dict by name.")
    return model, dict(inputs)


def read_data(name: str) -> Named:
    """Return the arrays of an .npz file, or what the function ``package.module:function`` returns, with that name.

    Raises:
        InputError: If the file cannot be read.
        OptionError: If there is no such function.
        MpcCompileError: If it fails.
    """
    if ":" in name and not Path(name).exists():
        return Named(_made(named(name, "factory"), name), name)
    return Named(read_arrays(Path(name)), name)


def named(name: str, kind: str) -> object:
    """Return what ``package.module:name`` names.

    Raises:
        OptionError: If there is no such thing.
        MpcCompileError: If its module fails.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise OptionError(f"{name!r} names no {kind}", hint="Write it as package.module:function.")
    # An installed command has its own folder there; `python -m` would have the working one.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise OptionError(f"there is no module {error.name}", hint="Start in the folder it is in.") from error
        raise _failed(f"importing {module_name}", error) from error
    except (Exception, SystemExit) as error:
        raise _failed(f"importing {module_name}", error) from error
    if not hasattr(module, attribute):
        raise OptionError(f"the module {module_name} has no {attribute}")
    found: object = getattr(module, attribute)
    return found


def _made(factory: object, name: str) -> object:
    # A module is callable too, but what it returns is not a model.
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        raise OptionError(f"{name} is {_kind(factory)}, not a function")
    make: Callable[[], object] = factory
    try:
        return make()
    except MpcCompileError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(f"calling {name}", error) from error


def _failed(what: str, error: BaseException) -> MpcCompileError:
    first = (str(error).strip().splitlines() or [""])[0]
    return MpcCompileError(f"{what} failed with {type(error).__name__}: {first}")


def _kind(value: object) -> str:
    return "nothing" if value is None else f"of type {type(value).__name__}"


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Read named arrays from an .npz file; float64, numpy's own choice, becomes float32.

    Raises:
        InputError: If it cannot be read, or holds something else than numbers.
    """
    try:
        # Of an .npy file it returns the array itself, which is no context manager; what it cannot read it leaves open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            tensors = {name: torch.from_numpy(np.asarray(file[name], order="C")) for name in file.files}
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except Exception as error:
        # A damaged file makes numpy raise what its parsers do: of zip, of zlib, of Python itself.
        raise InputError("this is not an .npz file of numbers", where=str(path), hint="Use numpy.savez.") from error
    return {name: tensor.float() if tensor.dtype in _NARROWED else tensor for name, tensor in tensors.items()}


def read_inputs(path: Path, package: Package) -> dict[str, Tensor]:
    """Read a package's inputs: under its names, or those that the ONNX file has in their place, such as ``input.1``.

    Raises:
        InputError: If the file cannot be read, or holds something else than numbers.
    """
    known = {spec.name for spec in package.inputs}
    arrays = read_arrays(path)
    plain = {name: identifier(name) for name in arrays}
    renamed = {name: to for name, to in plain.items() if name not in known and to in known and to not in arrays}
    return {renamed.get(name, name): value for name, value in arrays.items()}


def write_arrays(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named arrays to an .npz file, which appears whole or not at all.

    Raises:
        InputError: If that cannot be done; the arrays then are in a temporary folder, if that can be written.
    """
    try:
        with replacing(path) as temporary:
            _write_npz(temporary, tensors)
    except OSError as error:
        what = f"the outputs cannot be written ({error.strerror})"
        raise InputError(what, where=str(path), hint=_kept_elsewhere(tensors)) from error


def _kept_elsewhere(tensors: Mapping[str, Tensor]) -> str:
    """Write arrays that have no place to a temporary folder, and say where they are."""
    lost = "They are lost: make room and run again."
    try:
        folder = Path(tempfile.mkdtemp(prefix="mpccompile-outputs-"))
    except OSError:
        return lost
    try:
        _write_npz(folder / "outputs.npz", tensors)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        return lost
    return f"They are in {folder / 'outputs.npz'}."


def _write_npz(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # numpy.savez takes the names as keywords, so that not every name is possible.
    with zipfile.ZipFile(path, "w") as archive:
        for name, tensor in tensors.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, tensor.numpy(), allow_pickle=False)


def check_writable(path: Path | None, hint: str = "Choose another file.") -> None:
    """Find out before a long run that its outputs have no place.

    Raises:
        OptionError: If the folder does not exist, cannot be written to or is on a full disk, or the path is one itself.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OptionError("there is no such folder", where=str(path.parent), hint="Make it first.")
    if path.is_dir():
        raise OptionError("this is a folder, and a file is to be written", where=str(path), hint="Name a file in it.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise OptionError("nothing can be written there", where=str(path), hint=hint)
    if path.exists() and not path.is_file():
        # A device or a pipe.
        return
    try:
        # Permissions do not tell of a full disk, nor of what a file system refuses.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        what = f"nothing can be written there ({error.strerror})"
        raise OptionError(what, where=str(path), hint="Make room, or choose another file.") from error


def check_empty(folder: Path, *, force: bool) -> None:
    """Refuse to mix a package with other files.

    Raises:
        OptionError: If something is there already.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file", hint="Choose a folder.")
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise OptionError(f"{folder} is not empty", hint="Choose another folder, or add --force to write over it.")


def check_folder(folder: Path) -> None:
    """Find out before a long compilation that its package has no place.

    Raises:
        OptionError: If the folder is not there and cannot be made, or nothing can be written to it.
    """
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise OptionError(f"{nearest} is a file", hint="Choose a folder.")
    try:
        # Permissions do not tell of what a file system refuses.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OptionError(
            f"nothing can be written to {nearest} ({error.strerror})", hint="Choose another folder."
        ) from error


def choice_of(texts: list[str] | None) -> tuple[tuple[str, str], ...] | None:
    """Read approximations as given on the command line, each ``name`` or ``pattern=name``."""
    if not texts:
        return None
    parts = [text.rpartition("=") for text in texts]
    return tuple((pattern if separator else EVERYWHERE, name) for pattern, separator, name in parts)


def options_of(pairs: list[str], named: Mapping[str, Any]) -> Options:
    """Build options from ``name=value`` texts and from options that have flags of their own.

    Raises:
        OptionError: If a name or a value means nothing.
    """
    values: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    defaults = Options()
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise OptionError(f"{pair!r} is not an option", hint="Write it as name=value.")
        values[name] = _parsed(name, text, getattr(defaults, name, ""))
    return approximations.check(Options.merged(None, values))


def _parsed(name: str, text: str, default: object) -> object:
    if name in REPLACED:
        return choice_of(text.split(","))
    if isinstance(default, tuple):
        return tuple(filter(None, text.split(",")))
    if not isinstance(default, int | float):
        return text
    try:
        return type(default)(text)
    except ValueError as error:
        raise OptionError(f"{name}={text!r} is not a number", where=f"option {name}") from error


def open_package(folder: Path, device: str | None = None) -> tuple[Package, PrivateModel]:
    """Read a package; its model returns a dict of outputs by name, whatever the original returned.

    ``device`` is where the parties compute, if not where the package was compiled for.
    """
    read = packages.read(folder)
    options = read.options if device is None else replace(read.options, device=device)
    package = replace(read, output=OutputSpec("dict", read.output.keys), options=options)
    return package, PrivateModel.from_package(package)


def made_up_inputs(package: Package) -> dict[str, Tensor]:
    """Return inputs of the shapes and dtypes of a package: normal numbers, first ids, masks that hide nothing."""
    generator = torch.Generator().manual_seed(0)
    inputs = {}
    for spec in package.inputs:
        if spec.dtype.is_floating_point:
            inputs[spec.name] = torch.randn(spec.shape, generator=generator).to(spec.dtype)
        elif "mask" in spec.name or spec.dtype == torch.bool:
            inputs[spec.name] = torch.ones(spec.shape, dtype=spec.dtype)
        else:
            inputs[spec.name] = torch.zeros(spec.shape, dtype=spec.dtype)
    return inputs
