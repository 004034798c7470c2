from __future__ import annotations

from mpccompile import compiler
from mpccompile.options import Options
from mpccompile.passes.driver import run_passes
from mpccompile.tuning.sites import moves_of, options_for, sites_of
from tests.models import bert, t5


def found_in(model, inputs):
    program = compiler.recognise(model, inputs, Options())
    return sites_of(program, run_passes(program, compiler.EXACT_PASSES, check=False))


def test_sites_have_the_shapes_that_passes_leave():
    sites = found_in(*bert())
    assert [(site.function, site.module_path, site.shapes) for site in sites] == [
        ("gelu", "bert.encoder.layer.0.intermediate.intermediate_act_fn", ((2, 6, 32),)),
        ("gelu", "bert.encoder.layer.1.intermediate.intermediate_act_fn", ((2, 1, 32),)),
        ("softmax", "bert.encoder.layer.0.attention.self", ((2, 2, 6, 6),)),
        ("softmax", "bert.encoder.layer.1.attention.self", ((2, 2, 1, 6),)),
    ]
    assert options_for(moves_of(sites[:1], {"gelu": ("quad",)})) == {
        "gelu": {"bert.encoder.layer.0.intermediate.intermediate_act_fn": "quad"}
    }
    assert len(moves_of(sites, None)) == 8


def test_every_attention_of_an_encoder_and_decoder_is_a_site():
    softmaxes = [site for site in found_in(*t5()) if site.function == "softmax"]
    assert len(softmaxes) == 6
    assert all(site.shapes for site in softmaxes)
