import io
import json

import pytest
from rich.console import Console

from mpccompile.bench import merge
from mpccompile.bench.merge import QUICK, Setting
from mpccompile.bench.merge_report import conclusion
from mpccompile.bench.merge_variants import EXACT, MERGE, VARIANTS
from mpccompile.bench.parts import Pair, Part
from mpccompile.errors import OptionError
from mpccompile.report.compare import Cost

FEW = (EXACT, MERGE)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path, buffer = tmp_path_factory.mktemp("result") / "result.json", io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "VARIANTS", {name: VARIANTS[name] for name in FEW})
        parts = merge.run(Setting(QUICK, repeat=1), Console(file=buffer, width=250), path)
    return parts[0], " ".join(buffer.getvalue().split()), json.loads(path.read_text())["parts"]


def test_a_text_is_priced_on_both_engines(measured):
    part, text, written = measured
    assert not part.failed
    assert tuple(part.pairs) == FEW
    for name, pair in part.pairs.items():
        assert 0 < pair.ours.rounds < pair.stock.rounds
        assert 0 < pair.ours.bytes_sent < pair.stock.bytes_sent
        assert min(pair.ours.seconds, pair.stock.seconds) > 0
        assert written[part.key]["pairs"][name]["ours"]["bytes_sent"] == pair.ours.bytes_sent
    assert "The exact model here takes" in text


def test_scaling_gives_what_all_layers_send():
    (text,) = QUICK
    variant, whole = VARIANTS[MERGE], merge.Text(text.length, text.layers, config=text.config)
    scaled, _ = merge.text_here(variant, text, 1, "cpu")
    ran, _ = merge.text_here(variant, whole, 1, "cpu")
    assert scaled.bytes_sent == pytest.approx(ran.bytes_sent, rel=0.01)
    assert scaled.rounds == pytest.approx(ran.rounds, rel=0.01)
    assert scaled.offline_bytes == pytest.approx(ran.offline_bytes, rel=0.01)


def test_the_conclusion_compares_totals():
    def pair(name, ours, stock):
        return Pair(name, Cost("ours", ours, 1.0, 10), Cost("stock", stock, 0.0, 1000), (0, 0))

    part = Part("gpt2", "128", "A text", {EXACT: pair(EXACT, 3.0, 90.0), MERGE: pair(MERGE, 1.0, 30.0)})
    first, second = conclusion(part)
    assert (
        first == "A text. MERGE makes stock CrypTen 3.00 times as fast (published: 7.75), and this engine 2.00 times."
    )
    assert second == "The exact model here takes 0.13 of the time and 0.0100 of the bytes of MERGE in stock CrypTen."
    assert conclusion(Part("gpt2", "128", "A text", {EXACT: part.pairs[EXACT]})) == ()


def test_an_unknown_part_is_named():
    with pytest.raises(OptionError, match=r"'gpt2/7' names no part.*gpt2/64, gpt2/128"):
        merge.run(Setting(only=("gpt2/7",)))
