"""Merged models of the other tests' tiny decoders."""

from __future__ import annotations

import torch

from mpccompile.merge.extract import averages
from mpccompile.merge.rewrite import MergeConfig, merged
from tests import models

LENGTH = 12
FORMS = {
    "residual": MergeConfig(),
    "affine": MergeConfig(first_norm="affine"),
    "mix-first": MergeConfig(form="mix-first"),
}


def ids(count=2, length=LENGTH, seed=3):
    return torch.randint(5, models.VOCAB, (count, length), generator=torch.Generator().manual_seed(seed))


def merged_of(family="gpt2", form="residual"):
    teacher = models.FAMILIES[family]()[0]
    # Random matrices: an average would hide a head or a row in the wrong place.
    found = averages(teacher, [{"input_ids": ids()}])
    generator = torch.Generator().manual_seed(5)
    student = merged(teacher, found, FORMS[form])
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if name.endswith("matrix.scores"):
                weight.copy_(torch.randn(weight.shape, generator=generator))
    return student
