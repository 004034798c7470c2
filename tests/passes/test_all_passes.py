"""All exact passes together, on every family, in any order."""

from __future__ import annotations

import random

import pytest

from mpccompile.ir.cost import total_cost
from mpccompile.passes.driver import run_passes
from mpccompile.passes.drop_no_ops import drop_no_ops
from mpccompile.passes.fold_affine_after_linear import fold_affine_after_linear
from mpccompile.passes.fold_constant_arithmetic import fold_constant_arithmetic
from mpccompile.passes.fold_linear_chain import fold_linear_chain
from mpccompile.passes.fold_norm_affine import fold_norm_affine
from mpccompile.passes.fold_scales import fold_scales
from mpccompile.passes.group_shared_heads import group_shared_heads
from mpccompile.passes.hoist_before_expand import hoist_before_expand
from mpccompile.passes.hoist_linear_before_views import hoist_linear_before_views
from mpccompile.passes.hoist_takes import hoist_takes
from mpccompile.passes.merge_parallel_linears import merge_parallel_linears
from mpccompile.passes.recognise_gelu import recognise_gelu
from mpccompile.passes.recognise_layer_norm import recognise_layer_norm
from mpccompile.passes.recognise_rms_norm import recognise_rms_norm
from mpccompile.passes.recognise_silu import recognise_silu
from mpccompile.passes.reorder_matmul_chains import reorder_matmul_chains
from mpccompile.passes.schedule_rounds import critical_path, schedule_rounds
from tests.models import FAMILIES, HAS_IMPLEMENTATIONS, HAS_PADDING_MASK
from tests.passes.build import assert_exact, family

ORDER = (
    recognise_gelu,
    recognise_silu,
    recognise_rms_norm,
    recognise_layer_norm,
    fold_constant_arithmetic,
    drop_no_ops,
    hoist_before_expand,
    hoist_linear_before_views,
    drop_no_ops,
    group_shared_heads,
    fold_affine_after_linear,
    fold_scales,
    fold_linear_chain,
    reorder_matmul_chains,
    fold_norm_affine,
    hoist_takes,
    merge_parallel_linears,
    drop_no_ops,
    schedule_rounds,
)
LEFT_ALONE = {"mlp"}

VARIANTS = [(name, "sdpa", False) for name in FAMILIES]
VARIANTS += [(name, "eager", name in HAS_PADDING_MASK) for name in HAS_IMPLEMENTATIONS]


@pytest.mark.parametrize(("name", "attn_implementation", "padding_mask"), VARIANTS)
def test_every_family_gets_cheaper_and_stays_exact(name, attn_implementation, padding_mask):
    program = family(name, attn_implementation, padding_mask)
    result = run_passes(program, ORDER)
    assert_exact(result)
    if name not in LEFT_ALONE:
        assert total_cost(result).bytes_sent < total_cost(program).bytes_sent
        assert critical_path(result)[1] <= critical_path(program)[1]
    again = run_passes(result, ORDER)
    assert [record.name for record in again.history[len(ORDER) :] if record.changes] in ([], ["schedule_rounds"])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_no_order_changes_the_answer(name, seed):
    order = list(ORDER)
    random.Random(seed).shuffle(order)
    assert_exact(run_passes(family(name), order))
