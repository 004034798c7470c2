import io
import json

import pytest
from rich.console import Console
from transformers import GPT2Config

from mpccompile.bench import gpt2
from mpccompile.bench.decoding import Course

TINY = GPT2Config(
    vocab_size=40, n_embd=16, n_head=2, n_layer=2, n_positions=32, bos_token_id=0, eos_token_id=0, pad_token_id=0
)


@pytest.fixture(scope="module")
def measured():
    buffer = io.StringIO()
    result = gpt2.run(Course(TINY, prompt=3, new_tokens=6, repeat=1), Console(file=buffer, width=140))
    return result, buffer.getvalue()


def test_a_token_and_a_text_are_measured_and_stock_crypten_is_scaled(measured):
    found = measured[0].found
    assert found.stock_as_run.rounds < found.stock.rounds < 2 * found.stock_as_run.rounds
    assert found.stock_as_run.bytes_sent < found.stock.bytes_sent < 2 * found.stock_as_run.bytes_sent
    assert found.ours.bytes_sent < found.stock.bytes_sent / 10
    assert found.text.tokens == 6
    assert found.text.online_bytes > 6 * found.ours.bytes_sent
    # Two programs, each with the table and two layers of 12 d^2 weights and the biases that are multiplied.
    assert found.text.load_bytes >= 2 * 8 * (40 * 16 + 2 * 12 * 16 * 16)


def test_what_is_shown_is_what_was_found(measured):
    result, text = measured
    flat = " ".join(text.split())
    assert "1 of 2 layers" in flat
    assert f"{result.found.ours.rounds:.0f}" in flat
    values = json.loads(json.dumps(result.to_json()))
    assert values["passed"] is result.passed
    assert [bar["bar"] for bar in values["bars"]] == [300, 4e6, 20, 20, None, 5, 8 << 30, None, None]


def test_the_bytes_of_a_token_do_not_grow_with_the_text(measured):
    longer = gpt2.run(Course(TINY, prompt=3, new_tokens=26, repeat=1)).found.ours
    # Scores and probabilities of each row, in 2 heads of 2 layers; a cache opened again would be 64 numbers a row.
    rows = 20 + 32
    assert longer.bytes_sent - measured[0].found.ours.bytes_sent < rows * 2 * 2 * 64
