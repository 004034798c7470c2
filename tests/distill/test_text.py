"""The stage of text: its loss, what it trains, and that a killed run goes on the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

import mpccompile
from mpccompile.distill import MERGE_EFFECTIVE, MERGE_INTENDED, DistillationConfig, Stage, TextLoss
from mpccompile.distill.graphs import logits_of, probed
from mpccompile.distill.match import match_hidden
from mpccompile.distill.objective import batches, objective
from mpccompile.distill.resent import Resending
from mpccompile.distill.run import prepare
from mpccompile.distill.text_sites import text_sites, with_shaken_embeddings
from mpccompile.distill.trainer import Trainer
from mpccompile.errors import DistillationError, OptionError
from tests import models
from tests.merge.small import FORMS, ids, merged_of

PLAIN = DistillationConfig.merge(epochs=2, loss=TextLoss(), text=Stage(2, 3e-3), checkpoint_steps=3)


def program_of(model, mask=False):
    inputs = {"input_ids": ids()}
    return mpccompile.program(model, inputs | ({"attention_mask": torch.ones_like(ids())} if mask else {}))


def terms_of(student, loss, rows, teacher=None):
    """The terms of the first batch, and its answer."""
    config = replace(PLAIN, text_loss=loss)
    job = prepare(teacher, student, rows, None, config)
    whose = None if job.teacher is None else (job.teacher, job.teacher.module)
    stated = objective("text", (student, student.module), whose, config, job.pairs)
    (batch,) = batches(job.train, torch.arange(2), 2)
    return stated(batch)


def hidden_of(model, text):
    with torch.no_grad():
        return model.base_model(input_ids=text).last_hidden_state


@pytest.mark.parametrize("form", [None, *FORMS])
def test_the_loss_is_the_papers(form):
    model, text = models.gpt2()[0] if form is None else merged_of(form=form), ids(seed=7)
    logits, terms = terms_of(program_of(model), TextLoss(alignment=0.6), {"input_ids": text})
    with torch.no_grad():
        plain = model(input_ids=text, labels=text)
        following = model.get_input_embeddings()(text[:, 1:])
        cosines = functional.cosine_similarity(hidden_of(model, text)[:, :-1], following, -1)
    torch.testing.assert_close(logits, plain.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(terms["tokens"], 0.4 * plain.loss, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(terms["alignment"], 0.6 * (1 - cosines).mean(), atol=1e-5, rtol=1e-4)


def test_a_teacher_adds_terms_that_share_the_weight_of_the_tokens():
    teacher, model, text = models.gpt2()[0], merged_of(), ids(seed=7)
    loss = TextLoss(alignment=0.25, answers=True, hidden=True)
    _logits, terms = terms_of(program_of(model), loss, {"input_ids": text}, teacher)
    with torch.no_grad():
        mine, its = model(input_ids=text), teacher(input_ids=text)
        entropy = functional.cross_entropy(
            mine.logits[:, :-1].flatten(0, 1) / 4, torch.softmax(its.logits[:, :-1].flatten(0, 1) / 4, -1)
        )
        first = [
            whose.base_model(input_ids=text, output_hidden_states=True).hidden_states[1] for whose in (model, teacher)
        ]
        error = (first[0] - first[1])[:, :-1].square().mean()
    torch.testing.assert_close(terms["answers"], 0.25 * 16 * entropy, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(terms["hidden"], 0.25 * error, atol=1e-4, rtol=1e-4)
    assert set(terms) == {"tokens", "answers", "hidden", "alignment"}


def test_padding_counts_for_nothing():
    model, text = models.gpt2()[0], ids(seed=7)
    mask = torch.ones_like(text)
    mask[1, 7:] = 0
    other = torch.where(mask.bool(), text, 6)
    student = program_of(model, mask=True)
    found = [terms_of(student, TextLoss(), {"input_ids": rows, "attention_mask": mask})[1] for rows in (text, other)]
    for name, term in found[0].items():
        torch.testing.assert_close(term, found[1][name])


def test_labels_that_are_given_say_what_comes_next():
    model, text = models.gpt2()[0], ids(seed=7)
    labels = torch.full_like(text, -100)
    labels[:, 4] = text[:, 5]
    logits, terms = terms_of(program_of(model), TextLoss(alignment=0.0), {"input_ids": text, "labels": labels})
    expected = functional.cross_entropy(logits[:, 4], text[:, 5])
    torch.testing.assert_close(terms, {"tokens": expected})


def test_a_resent_text_is_read_from_hidden_states_from_its_middle_on():
    model, text = merged_of(), ids(seed=7)
    loss = TextLoss(alignment=0.25, resent=2, scale=0.3)
    _logits, terms = terms_of(program_of(model), loss, {"input_ids": text})
    middle, embedded, losses = text.shape[1] // 2, model.get_input_embeddings()(text), []
    given = embedded
    with torch.no_grad():
        for _reading in range(3):
            hidden = model.base_model(inputs_embeds=given).last_hidden_state
            logits = model.lm_head(hidden)[:, :-1]
            losses.append(functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()))
            given = torch.cat([embedded[:, :middle], 0.3 * hidden[:, middle - 1 : -1]], 1)
    torch.testing.assert_close(terms["tokens"], 0.75 * torch.stack(losses).mean(), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(losses[0], losses[1])


@pytest.mark.parametrize("loss", [TextLoss(alignment=0.5, answers=True, resent=1), TextLoss()])
def test_products_in_bfloat16_learn_nearly_the_same_and_other_steps(loss):
    teacher = models.gpt2()[0] if loss.answers else None
    ends = []
    for precision in ("float32", "bfloat16"):
        config = replace(PLAIN, text_loss=loss, precision=precision)
        ends.append(trained(program_of(merged_of()), config=config, teacher=teacher))
    plain, reduced = ([record.loss for record in end.history] for end in ends)
    assert plain != reduced
    torch.testing.assert_close(torch.tensor(reduced), torch.tensor(plain), rtol=2e-3, atol=0)
    assert all(weight.dtype == torch.float32 for weight in ends[1].program.module.parameters())


def test_where_a_text_is_resent_is_drawn_and_never_its_first_position():
    program = program_of(models.gpt2()[0])
    resending = Resending(probed(program, program.module, []), text_sites(program), 1.0, drawn=True)
    starts = resending.starts(torch.zeros(500, 4, 3))
    assert starts.shape == (500, 1)
    assert set(starts.flatten().tolist()) == {1, 2, 3}
    assert set(replace(resending, drawn=False).starts(torch.zeros(5, 4, 3)).flatten().tolist()) == {2}


def test_noise_and_dropout_come_between_the_table_and_the_positions():
    program = program_of(models.gpt2()[0])
    embedded = text_sites(program).embedded
    shaken = with_shaken_embeddings(program, embedded, TextLoss(noise=0.5, dropout=0.25))
    names = [node.name for node in shaken.graph.nodes]
    after = shaken.graph.nodes
    node = next(node for node in after if node.name == embedded)
    (only,) = node.users
    assert only.name == names[names.index(embedded) + 1]
    values = only.target(torch.zeros(4000) + 2.0, 0.5, 0.25)
    kept = values[values != 0]
    assert 0.2 < 1 - len(kept) / 4000 < 0.3
    assert 2.0 <= float(kept.min()) < 2.05
    assert 3.28 < float(kept.max()) <= 2.5 / 0.75
    quiet = with_shaken_embeddings(program, embedded, TextLoss())
    with torch.no_grad():
        one, two = (each.module(*program.example_inputs)[logits_of(program)] for each in (quiet, program))
    assert torch.equal(one, two)


def trained(student, **given):
    choices = {"config": PLAIN, "progress": False} | given
    return mpccompile.distill(choices.pop("teacher", None), student, {"input_ids": ids(7)}, **choices)


@pytest.mark.parametrize("form", [None, *FORMS])
def test_training_brings_hidden_states_to_the_embeddings_and_finds_the_tokens(form):
    model = models.gpt2()[0] if form is None else merged_of(form=form)
    config = replace(PLAIN, text=Stage(15, 3e-3), text_loss=TextLoss(noise=0.01, dropout=0.01))
    result = trained(program_of(model), config=config, validation={"input_ids": ids(4)})
    first, last = result.history[0], result.history[-1]
    assert last.tokens < 0.9 * first.tokens
    assert last.alignment < 0.9 * first.alignment
    assert result.scores.metric > 0.2
    loaded = result.load_into(model)
    text = ids(seed=7)
    with torch.no_grad():
        found = result.program.module(text)[logits_of(result.program)]
        torch.testing.assert_close(loaded(input_ids=text).logits, found, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("resent", "kept"), [(1, 0.5), (0, 2.0)])
def test_a_model_resends_as_it_was_trained(resent, kept):
    model = merged_of()
    config = replace(PLAIN, text=Stage(1, 1e-3), text_loss=TextLoss(resent=resent, scale=0.5))
    result = trained(program_of(model), config=config)
    model.config.reuse_scale = 2.0
    assert result.load_into(model).config.reuse_scale == kept
    model.config.reuse_scale = 3.0
    without = replace(result, config=replace(config, text=None, labels=Stage(1, 1e-3)))
    assert without.load_into(model).config.reuse_scale == 3.0


@pytest.mark.parametrize("stop", [2, 5, 7])
def test_a_run_goes_on_bit_for_bit(tmp_path, monkeypatch, stop):
    student = program_of(merged_of())
    config = replace(PLAIN, text_loss=replace(MERGE_EFFECTIVE, answers=True, resent=1))
    given = {"config": config, "teacher": models.gpt2()[0], "validation": {"input_ids": ids(3, seed=1)}}
    whole, step = trained(student, **given), Trainer._step

    def stopping(self, *arguments):
        if self._state.total == stop:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(student, folder=tmp_path, **given)
    monkeypatch.setattr(Trainer, "_step", step)
    torch.manual_seed(stop)
    again = trained(student, folder=tmp_path, **given)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in again.state_dict().items())
    assert [replace(record, seconds=0) for record in again.history] == [
        replace(record, seconds=0) for record in whole.history
    ]


def test_the_papers_two_settings_differ_in_what_is_shaken():
    assert (MERGE_INTENDED.noise, MERGE_INTENDED.dropout) == (0.75, 0.6)
    assert (MERGE_EFFECTIVE.noise, MERGE_EFFECTIVE.dropout) == (0.2, 0.75)
    config = DistillationConfig.merge(epochs=3, seed=1)
    assert (config.text, config.text_loss, config.seed) == (Stage(3, 8e-5), MERGE_INTENDED, 1)
    assert config.text_loss.alignment == 0.75
    assert config.layers is config.logits is config.labels is None


def test_hidden_states_are_paired_where_there_is_no_attention():
    teacher, student = program_of(models.gpt2()[0]), program_of(merged_of(form="mix-first"))
    assert [pair.place for pair in match_hidden(teacher, student)] == [
        f"the output of transformer.h.{layer}" for layer in range(models.LAYERS)
    ]


def test_what_cannot_be_trained_on_text_is_refused():
    program = mpccompile.program(*models.bert())
    with pytest.raises(DistillationError, match="no language model"):
        mpccompile.distill(None, program, {"input_ids": ids(2, models.LENGTH)}, config=PLAIN, progress=False)
    with pytest.raises(DistillationError, match="no teacher"):
        trained(program_of(merged_of()), config=replace(PLAIN, text_loss=TextLoss(answers=True)))
    for wrong in (
        {"alignment": 1.0},
        {"noise": -0.1},
        {"dropout": 1.0},
        {"temperature": 0.0},
        {"resent": -1},
        {"scale": 0.0},
    ):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            TextLoss(**wrong)
