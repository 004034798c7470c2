"""Public position ids for models that would derive them from secret token ids.

RoBERTa and its kin number the tokens that are not padding, which they find by comparing token ids with the padding id.
On secret ids that comparison is costly and needless: the attention mask, or its absence, says the same.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from mpccompile.errors import CaptureFailed
from mpccompile.ir.program import Origin
from mpccompile.ir.rewrite import insert_call, insert_weight, replace

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NAME = "position_ids"
_MAKER = "create_position_ids_from_input_ids"
_HINT = "Pass position_ids (they are public), or pass inputs_embeds instead of input_ids."
aten = torch.ops.aten


@dataclass(frozen=True)
class Positions:
    """Position ids the capture supplies.

    Attributes:
        values: Their values for the example inputs, [N, T]: ``padding_idx + 1 + arange(T)``, or counted over the mask.
        padding_idx: The position of padding.
        module_path: The embedding module that would have derived them.
    """

    values: Tensor
    padding_idx: int
    module_path: str


def supplied(model: nn.Module, inputs: Mapping[str, Tensor], secret: Collection[str]) -> Positions | None:
    """Return position ids for ``model``, or None where it needs none from us.

    Raises:
        CaptureFailed: If they are needed and cannot be known from public values.
    """
    owner = next((item for item in model.named_modules() if _derives_positions(item[1])), None)
    if owner is None or NAME in inputs or "input_ids" not in secret:
        return None
    path, part = owner
    padding_idx = getattr(part, "padding_idx", None)
    if NAME not in inspect.signature(model.forward).parameters or not isinstance(padding_idx, int):
        raise CaptureFailed("Position ids would be derived from the secret token ids", where=path, hint=_HINT)
    mask = inputs.get("attention_mask")
    if mask is not None and ("attention_mask" in secret or mask.dim() != inputs["input_ids"].dim()):
        raise CaptureFailed(
            "Position ids would be derived from an attention mask that is not a public [batch, tokens] one",
            where=path,
            hint=_HINT,
        )
    keep = torch.ones_like(inputs["input_ids"]) if mask is None else mask
    return Positions(_counted(keep, padding_idx), padding_idx, path)


def _derives_positions(part: nn.Module) -> bool:
    """Say whether ``part`` is an embedding that numbers tokens by their ids: by a method, or a function of its file."""
    if hasattr(part, _MAKER):
        return True
    return hasattr(sys.modules.get(type(part).__module__), _MAKER) and hasattr(part, "padding_idx")


def _counted(mask: Tensor, padding_idx: int) -> Tensor:
    keep = mask.long()
    return torch.cumsum(keep, dim=1) * keep + padding_idx


def bake(module: fx.GraphModule, positions: Positions) -> None:
    """Replace the placeholder of the position ids by what makes them: calls on the mask, or a public constant."""
    holders = {str(node.target): node for node in module.graph.nodes if node.op == "placeholder"}
    holder, mask = holders.pop(NAME), holders.get("attention_mask")
    first = next(node for node in module.graph.nodes if node.op not in ("placeholder", "get_attr"))
    holder.meta["origin"] = Origin(positions.module_path)
    if mask is None:
        replace(holder, insert_weight(module, first, NAME, positions.values.clone(), like=holder))
        return
    keep = insert_call(first, aten._to_copy.default, mask, dtype=torch.int64, like=holder)  # noqa: SLF001 - its ATen name
    count = insert_call(first, aten.cumsum.default, keep, 1, like=holder)
    masked = insert_call(first, aten.mul.Tensor, count, keep, like=holder)
    replace(holder, insert_call(first, aten.add.Tensor, masked, positions.padding_idx, like=holder))
