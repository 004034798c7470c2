"""Inputs of ids know their table."""

from __future__ import annotations

import mpccompile
from tests import models


def rows_of(family, **changes):
    program = mpccompile.program(*models.FAMILIES[family](**changes))
    return {spec.name: spec.table_rows for spec in program.inputs}


def test_ids_have_the_size_of_their_table_and_masks_have_none():
    assert rows_of("bert", padding_mask=True) == {"input_ids": models.VOCAB, "attention_mask": None}
    assert rows_of("vit") == {"pixel_values": None}


def test_ids_of_a_decoder_know_it_too():
    assert set(rows_of("t5").values()) == {models.VOCAB}


def test_a_package_keeps_it(tmp_path):
    model, inputs = models.bert()
    mpccompile.compile(model, example_inputs=inputs).save(tmp_path)
    (package,) = mpccompile.load(tmp_path).packages
    assert [spec.table_rows for spec in package.inputs] == [models.VOCAB]
