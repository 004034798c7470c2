"""What moves elements and computes nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mpccompile.capture.from_onnx.registry import Answer, Refused, Site, imports
from mpccompile.capture.from_onnx.tensors import dtype_of


def _given(values: list[int] | None, what: str) -> list[int]:
    if values is None:
        raise Refused(f"{what} is missing")
    return values


@imports("Identity", "Dropout", view=True)
def identity(site: Site, x: Tensor, *_: Tensor | None) -> Answer:
    """The value itself; nothing is dropped when nothing is trained."""
    if site.op == "Identity":
        return x
    if site.number(2):
        raise Refused("it drops values at random, as in training")
    return x, torch.ones_like(x, dtype=torch.bool)


@imports("Reshape", view=True)
def reshape(site: Site, x: Tensor, *_: Tensor) -> Tensor:
    """The same elements in another shape; 0 copies a size, -1 is what is left."""
    wanted = _given(site.ints(1), "its shape")
    if not site.attribute("allowzero", 0):
        wanted = [x.shape[dim] if size == 0 else size for dim, size in enumerate(wanted)]
    return torch.reshape(x, wanted)


@imports("Flatten", view=True)
def flatten(site: Site, x: Tensor) -> Tensor:
    """A matrix, its rows what stands before ``axis``."""
    axis = site.attribute("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return torch.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@imports("Squeeze", view=True)
def squeeze(site: Site, x: Tensor, *_: Tensor) -> Tensor:
    """Dims of size 1 left out: those named, or all."""
    axes = site.axes()
    drop = {axis % x.dim() for axis in axes} if axes else {dim for dim, size in enumerate(x.shape) if size == 1}
    return torch.reshape(x, [size for dim, size in enumerate(x.shape) if dim not in drop])


@imports("Unsqueeze", view=True)
def unsqueeze(site: Site, x: Tensor, *_: Tensor) -> Tensor:
    """New dims of size 1, at places counted in the answer."""
    axes = _given(site.axes(), "where the new dims are")
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@imports("Transpose", view=True)
def transpose(site: Site, x: Tensor) -> Tensor:
    """Dims in another order, backwards where none is given."""
    return torch.permute(x, site.attribute("perm") or list(range(x.dim()))[::-1])


@imports("Expand")
def expand(site: Site, x: Tensor, *_: Tensor) -> Tensor:
    """Broadcast against a shape, which may have sizes of 1 where x has more."""
    return x.expand(torch.broadcast_shapes(x.shape, _given(site.ints(1), "its shape")))


@imports("Tile")
def tile(site: Site, x: Tensor, *_: Tensor) -> Tensor:
    """Repeated along each dim."""
    return x.repeat(_given(site.ints(1), "how often it repeats"))


@imports("Concat")
def concat(site: Site, *xs: Tensor) -> Tensor:
    """One after the other along an axis."""
    axis = site.attribute("axis")
    return xs[0] if len(xs) == 1 else torch.cat(xs, axis)


@imports("Split")
def split(site: Site, x: Tensor, *_: Tensor | None) -> Answer:
    """Parts along an axis: of the sizes given, or as equal as they can be."""
    axis, parts = site.attribute("axis", 0), site.attribute("num_outputs", len(site.node.outputs))
    sizes = site.attribute("split") or site.ints(1)
    if sizes is None:
        sizes = math.ceil(x.shape[axis] / parts)
    return list(torch.split(x, sizes, axis))


@imports("Cast", "CastLike")
def cast(site: Site, x: Tensor, like: Tensor | None = None) -> Tensor:
    """Another type; between floats of different widths nothing happens, as all are float32 here."""
    dtype = like.dtype if like is not None else dtype_of(site.attribute("to"), site.node.name)
    return x if x.dtype == dtype else x.to(dtype)


@imports("Shape", shape_only=True)
def shape(site: Site, x: Tensor) -> Tensor:
    """The sizes of a tensor."""
    return torch.tensor(x.shape[site.attribute("start", 0) : site.attribute("end")], dtype=torch.int64)


@imports("Size", shape_only=True)
def size(_site: Site, x: Tensor) -> Tensor:
    """How many elements a tensor has."""
    return torch.tensor(x.numel())


@imports("ConstantOfShape", private=False)
def constant_of_shape(site: Site, _shape: Tensor) -> Tensor:
    """A tensor filled with one value."""
    fill = site.attribute("value", torch.zeros(1))
    return torch.full(_given(site.ints(0), "its shape"), fill.reshape(-1)[0].item(), dtype=fill.dtype)


@imports("EyeLike", shape_only=True)
def eye_like(site: Site, x: Tensor) -> Tensor:
    """A matrix with ones on a diagonal."""
    dtype = dtype_of(site.attribute("dtype"), site.node.name) if site.attribute("dtype") else x.dtype
    offset = site.attribute("k", 0)
    ones = torch.ones(tuple(x.shape)).triu(offset).tril(offset)
    return ones.to(dtype)


@imports("Range", private=False)
def arange(site: Site, *bounds: Tensor) -> Tensor:
    """Numbers from a start up to a limit."""
    start, limit, step = (site.number(position) for position in range(3))
    if start is None or limit is None or step is None:
        raise Refused("a bound is missing")
    count = max(math.ceil((limit - start) / step), 0)
    return (torch.arange(count) * step + start).to(bounds[0].dtype)


@imports("Pad")
def pad(site: Site, x: Tensor, *_: Tensor | None) -> Tensor:
    """More elements around, of one value; other modes on public values only."""
    pads = _given(site.attribute("pads") or site.ints(1), "how much to add")
    axes = [axis % x.dim() for axis in site.ints(3) or range(x.dim())]
    sides = [0] * (2 * x.dim())
    for place, axis in enumerate(axes):
        back = 2 * (x.dim() - 1 - axis)
        sides[back], sides[back + 1] = pads[place], pads[place + len(axes)]
    mode = site.attribute("mode", "constant")
    if mode == "constant":
        fill = site.number(2)
        return functional.pad(x, sides, value=0.0 if fill is None else fill)
    for axis in axes:
        before, after = sides[2 * (x.dim() - 1 - axis) :][:2]
        x = x.index_select(axis, _places(x.shape[axis], before, after, mode))
    return x


def _places(size: int, before: int, after: int, mode: str) -> Tensor:
    """Return which elements stand where, along a dim that is padded with its own elements."""
    places = torch.arange(-before, size + after)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    if mode != "reflect":
        raise Refused(f"padding of mode {mode} is not known")
    period = max(2 * (size - 1), 1)
    folded = places % period
    return torch.minimum(folded, period - folded)


@imports("DepthToSpace")
def depth_to_space(site: Site, x: Tensor) -> Tensor:
    """Channels moved into blocks of an image [N, C, H, W]."""
    block = site.attribute("blocksize")
    count, channels, height, width = x.shape
    inner = channels // block**2
    if site.attribute("mode", "DCR") == "DCR":
        apart = x.reshape(count, block, block, inner, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        apart = x.reshape(count, inner, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return apart.reshape(count, inner, height * block, width * block)


@imports("SpaceToDepth")
def space_to_depth(site: Site, x: Tensor) -> Tensor:
    """Blocks of an image [N, C, H, W] moved into channels."""
    block = site.attribute("blocksize")
    count, channels, height, width = x.shape
    apart = x.reshape(count, channels, height // block, block, width // block, block)
    channels_first = site.attribute("mode", "DCR") == "CRD"
    apart = apart.permute((0, 1, 3, 5, 2, 4) if channels_first else (0, 3, 5, 1, 2, 4))
    return apart.reshape(count, channels * block**2, height // block, width // block)


@imports("Trilu")
def trilu(site: Site, x: Tensor, *_: Tensor | None) -> Tensor:
    """The upper or lower triangle of the last two dims; 0 elsewhere."""
    offset = int(site.number(1) or 0)
    keep = torch.ones(tuple(x.shape[-2:]), dtype=torch.bool)
    keep = keep.triu(offset) if site.attribute("upper", 1) else keep.tril(offset)
    return torch.where(keep, x, torch.zeros((), dtype=x.dtype))
