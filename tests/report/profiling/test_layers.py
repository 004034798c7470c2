import pytest

from mpccompile.report.profiling.layers import layer_of


@pytest.mark.parametrize(
    ("path", "layer"), [("", ""), ("a.b.c", "a.b"), ("h.0.attn.c", "h.0"), ("x.y.layers.11.f.2", "x.y.layers.11")]
)
def test_a_layer_is_named_down_to_its_number(path, layer):
    assert layer_of(path) == layer
