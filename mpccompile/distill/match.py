"""Which values of a student are to be like which of its teacher; found in the graphs, whatever the model's class."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import fx

from mpccompile.distill.sites import (
    Attention,
    attention_sites,
    layer_input,
    layer_output,
    layer_paths,
    stack_of,
)
from mpccompile.errors import DistillationError
from mpccompile.ir.program import Program, origin_of
from mpccompile.ir.rewrite import shape_of
from mpccompile.ir.secrecy import infer

logger = logging.getLogger(__name__)
_OUTPUT = "the output of "


@dataclass(frozen=True)
class Tokens:
    """Which tokens are real: those that a self-attention lets any token see.

    Attributes:
        mask: Name of the teacher's node that holds the attention's mask.
        shape: Shape of the attention's scores, [N, ..., T, T].
    """

    mask: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """A value of the teacher and the value of the student that is to be like it.

    Attributes:
        kind: ``"attention"``: scores [N, ..., rows, columns]; ``"hidden"``: the residual stream [N, T, D].
        place: Module path, for people.
        teacher: Name of the teacher's node.
        student: Name of the student's node.
        shape: Of both.
        mask: Name of the teacher's node with the mask of the scores, if there is one.
        tokens: Which tokens are real, where the graph says so.
    """

    kind: Literal["attention", "hidden"]
    place: str
    teacher: str
    student: str
    shape: tuple[int, ...]
    mask: str | None = None
    tokens: Tokens | None = None


def match(teacher: Program, student: Program) -> tuple[Pair, ...]:
    """Pair attention scores and hidden states by module path and order.

    Attention scores are what the teacher's softmaxes are taken of; in the student they are found by their own origin,
    whatever took the place of the softmax. A hidden state is what a layer hands on; the first of a stack is what it
    is given.

    Raises:
        DistillationError: If the teacher has no attention, or the student no counterpart of a value.
    """
    sites = attention_sites(teacher)
    if not sites:
        raise DistillationError(
            "the teacher has no attention to learn from",
            hint="Leave the stage of layers out: DistillationConfig(layers=None).",
        )
    layers = layer_paths([site.path for site in sites])
    tokens = _tokens(sites, layers)
    scores = tuple(
        Pair(
            "attention",
            site.path,
            site.scores.name,
            _counterpart(teacher, student, site.scores).name,
            shape_of(site.scores),
            site.mask.name if site.mask is not None else None,
            tokens.get(layer),
        )
        for site, layer in zip(sites, layers, strict=True)
    )
    return scores + _hidden(teacher, student, [layer for layer in dict.fromkeys(layers) if layer], tokens)


def match_hidden(teacher: Program, student: Program) -> tuple[Pair, ...]:
    """Pair what layers hand on, for students that have no attention scores.

    Raises:
        DistillationError: If no layer of the teacher can be told, or the student has no counterpart of one.
    """
    sites = attention_sites(teacher)
    layers = layer_paths([site.path for site in sites])
    pairs = _hidden(teacher, student, [layer for layer in dict.fromkeys(layers) if layer], _tokens(sites, layers))
    outputs = tuple(pair for pair in pairs if pair.place.startswith(_OUTPUT))
    if not outputs:
        raise DistillationError("the teacher has no layers to learn from", hint="Leave text_loss.hidden out.")
    return outputs


def _tokens(sites: list[Attention], layers: list[str]) -> dict[str, Tokens]:
    found: dict[str, Tokens] = {}
    for site, layer in zip(sites, layers, strict=True):
        shape = shape_of(site.scores)
        if site.mask is not None and layer not in found and shape[-1] == shape[-2]:
            found[layer] = Tokens(site.mask.name, shape)
    return found


def _hidden(teacher: Program, student: Program, layers: list[str], tokens: dict[str, Tokens]) -> tuple[Pair, ...]:
    if not layers:
        logger.info("no module path of an attention names a layer: only scores and logits are matched")
    of_teacher, of_student = infer(teacher), infer(student)
    pairs = []
    begun: set[str] = set()
    for layer in layers:
        ends = [(layer_output, f"{_OUTPUT}{layer}")]
        if stack_of(layer) not in begun:
            begun.add(stack_of(layer))
            ends.insert(0, (layer_input, f"the input of {layer}"))
        for find, place in ends:
            mine = find(teacher, of_teacher, layer)
            if mine is not None:
                its = find(student, of_student, layer)
                pairs.append(_hidden_pair(place, mine, its, tokens.get(layer)))
    return tuple(pairs)


def _hidden_pair(place: str, mine: fx.Node, its: fx.Node | None, tokens: Tokens | None) -> Pair:
    if its is None or shape_of(its) != shape_of(mine):
        shape = "none" if its is None else f"one of shape {list(shape_of(its))}"
        raise DistillationError(
            f"the teacher has {place}, of shape {list(shape_of(mine))}, and the student {shape}",
            where=str(origin_of(mine)),
            hint="Make both with mpccompile.program, of the same model and for inputs of the same shapes.",
        )
    return Pair("hidden", place, mine.name, its.name, shape_of(mine), tokens=tokens)


def _counterpart(teacher: Program, student: Program, node: fx.Node) -> fx.Node:
    """Return the student's node of the same module path, operation, shape and place in the order.

    Where a replacement has added operations of the same kind, the source line and the name that capture gave decide.
    """
    path = origin_of(node).module_path

    def alike(other: fx.Node) -> bool:
        return (
            other.op == "call_function"
            and other.target is node.target
            and origin_of(other).module_path == path
            and shape_of(other) == shape_of(node)
        )

    def same_line(other: fx.Node) -> bool:
        return alike(other) and origin_of(other).source == origin_of(node).source

    def same_name(other: fx.Node) -> bool:
        return alike(other) and other.name == node.name

    rules: tuple[Callable[[fx.Node], bool], ...] = (alike, same_line, same_name)
    for rule in rules:
        mine = [other for other in teacher.graph.nodes if rule(other)]
        its: list[fx.Node] = [other for other in student.graph.nodes if rule(other)]
        if len(mine) == len(its):
            return its[mine.index(node)]
    found = [other for other in student.graph.nodes if alike(other)]
    raise DistillationError(
        f"the attention scores %{node.name}, of shape {list(shape_of(node))}, have no counterpart in the student, which"
        f" has {len(found)} of their kind in this module",
        where=str(origin_of(node)),
        hint="Make both with mpccompile.program, of the same model and for inputs of the same shapes.",
    )
