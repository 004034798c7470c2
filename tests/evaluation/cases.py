"""Small classifiers with labelled data."""

from __future__ import annotations

import torch

from tests.models import bert, mlp


def mlp_data(count=20, wrong=4, seed=5):
    """Inputs of the MLP family and its own answers as labels, the first ``wrong`` of them changed."""
    model, _inputs = mlp()
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        labels = model(x).argmax(-1)
    labels[:wrong] = (labels[:wrong] + 1) % 3
    return model, {"input": x, "labels": labels}


def bert_data(count=12, seed=6):
    """Padded texts of the BERT family and its own answers as labels."""
    model, _inputs = bert()
    ids = torch.randint(5, 60, (count, 6), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[::3, 4:] = 0
    with torch.no_grad():
        # So that half of the texts are in either class; the closest score is 0.018 from the other class.
        model.classifier.bias[0] += 0.844
        labels = model(input_ids=ids, attention_mask=mask).logits.argmax(-1)
    return model, {"input_ids": ids, "attention_mask": mask, "labels": labels}
