"""Where a node of an ONNX graph was in the model that was exported.

torch's newer exporter writes the path of the module beside each node; its older one, and TensorFlow's, put it in the
node's name, separated by slashes.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from mpccompile.ir.program import Origin

if TYPE_CHECKING:
    import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"
_SEPARATOR = "/"
# A name without a path; the rest are a tensor's own names, which stand for no module.
_DOTTED = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)+")


def origin_of(node: onnx.NodeProto, name: str) -> Origin:
    """Return the module a node came from, as a dotted path, and its name as the source."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            return Origin(_last_module(entry.value), name)
    if _SEPARATOR in node.name:
        return Origin(".".join(filter(None, node.name.split(_SEPARATOR)[:-1])), name)
    return Origin(_module_of_weights(node), name)


def _last_module(scopes: str) -> str:
    """Read a list of paths, the outermost first; the last is the call itself."""
    try:
        paths = ast.literal_eval(scopes)
    except (SyntaxError, ValueError):
        return ""
    return str(paths[-2]) if isinstance(paths, list) and len(paths) > 1 else ""


def _module_of_weights(node: onnx.NodeProto) -> str:
    """Return the module that all weights of a node are in, where their names are paths."""
    owners = [name.split(".")[:-1] for name in node.input if _DOTTED.fullmatch(name)]
    if not owners:
        return ""
    shared = []
    for parts in zip(*owners, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)
