import pytest

from mpccompile.report.profiling.layers import layers_of

BERT = {
    "bert.embeddings.word_embeddings": "bert.embeddings",
    "bert.encoder.layer.11.output.dense": "bert.encoder.layer.11",
    "bert.pooler.dense": "bert.pooler",
    "bert": "bert",
    "classifier.dense": "classifier",
    "": "",
}


@pytest.mark.parametrize("wrapper", ["", "m.", "of.some.model."])
def test_a_module_is_in_the_layer_beside_the_numbered_ones(wrapper):
    expected = {f"{wrapper}{path}".strip("."): f"{wrapper}{layer}".strip(".") for path, layer in BERT.items()}
    assert layers_of(expected) == expected


def test_without_numbers_a_layer_is_the_first_two_parts():
    assert layers_of({"a.b.c", "a", ""}) == {"a.b.c": "a.b", "a": "a", "": ""}


def test_a_module_is_in_its_outermost_number():
    assert layers_of({"h.0.experts.3.c"}) == {"h.0.experts.3.c": "h.0"}
