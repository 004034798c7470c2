"""No correlated randomness is used twice: not within a call, not between calls, not between sessions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from mpccompile.errors import DealerError
from mpccompile.runtime import correlations, offline, ring
from mpccompile.runtime import functions as mpc
from mpccompile.runtime.party import Pool
from mpccompile.runtime.plan import Step
from mpccompile.runtime.prg import Prg
from mpccompile.runtime.shared import StaticWeight
from tests.runtime.pair import Call, deal, fresh_seeds, plan_of, pool_of, run_call, share

DELTA = 0x5A5A_5A5A_5A5A_5A5B
"""What one mask is moved by: about a third of the size of every ring. A mask also decides how its value is rounded, and
later openings see that; but by less than 2^-8 of the size of their ring."""
SCOPE = mpc.SoftmaxRange(-4.0, 4.0, ((0.1, 5.0), (0.05, 1.1)), centred=True, halvings=1)


def block(x: Any, attention: Any, feed: Any, norm: Any) -> Any:
    """Run a layer with one of everything that rounds: products, norm, softmax, a curve, an inverse, range tests."""
    normal = mpc.layer_norm(x, norm, variance=(0.05, 20.0))
    queries = mpc.linear(normal, attention)
    scores = mpc.matmul(queries, mpc.permute(normal, (1, 0)))
    mixed = mpc.matmul(mpc.softmax(mpc.mul(scores, 0.1), scope=SCOPE, tolerance=1e-3), normal)
    grown = mpc.gelu(mpc.linear(mpc.add(x, mixed), feed), scope=(-12.0, 12.0), tolerance=1e-3)
    scaled = mpc.mul(grown, mpc.reciprocal(mpc.add(mpc.square(x), 1.0), scope=(0.9, 30.0)))
    mpc.check_ranges()
    return scaled


def comparisons(x: Any) -> Any:
    """Run what is exact, so that a mask moved changes no later value at all."""
    largest = mpc.max_pool2d(mpc.reshape(x, (1, 1, 4, 6)), (2, 2), (2, 2))
    return mpc.relu(mpc.reshape(largest, (2, 3)))


def choice(x: Any) -> Any:
    """Pick places, in both rings, and look them up."""
    table = torch.arange(12.0).reshape(6, 2)
    wide, narrow = mpc.argmax(x), mpc.argmax(x, within=16.0)
    return mpc.add(mpc.embedding(wide, table), mpc.embedding(narrow, table))


def inputs() -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(3)

    def weight(name: str, *shape: int) -> StaticWeight:
        plain = torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        return StaticWeight(name, ring.encode(plain, 16), 16)

    x = torch.randn(4, 6, generator=generator)
    norm = StaticWeight("norm", ring.encode(torch.ones(6), 16), 16)
    return share(x), weight("attention", 6, 6), weight("feed", 6, 6), norm


# --------------------------------------------------------------------------------------------------------------- pools


def pool_with(*kinds: str) -> tuple[Pool, list[Step]]:
    steps = [Step(kind, (3,)) for kind in kinds]
    return Pool(steps, [torch.full((3,), index) for index in range(len(steps))]), steps


def test_a_pool_hands_out_each_share_once_in_order():
    pool, steps = pool_with("mask", "xor_mask", "mask")
    masks = [pool.pop(step) for step in steps]
    assert [mask.key for mask in masks] == [0, 1, 2]
    assert [int(mask.share[0]) for mask in masks] == [0, 1, 2]
    for step in steps:
        with pytest.raises(DealerError, match="used up"):
            pool.pop(step)


@pytest.mark.parametrize(
    "other",
    [
        Step("mask", (4,)),
        Step("shift", (3,)),
        Step("mask", (3,), (0,)),
        Step("mask", (3,), (), (1,)),
        Step("mask", (3,), weight="w"),
    ],
)
def test_a_pool_refuses_what_its_plan_does_not_say(other):
    pool, steps = pool_with("mask", "mask")
    with pytest.raises(DealerError, match="plan says mask"):
        pool.pop(other)
    # The share was not given away by the refusal.
    assert pool.pop(steps[0]).key == 0


def test_a_pool_keeps_no_share_it_handed_out():
    pool, steps = pool_with("mask", "mask")
    pool.pop(steps[0])
    assert pool._shares[0] is None
    assert pool._shares[1] is not None


def test_a_share_that_is_gone_is_not_handed_out():
    pool = Pool([Step("mask", (3,))], [None])
    with pytest.raises(DealerError, match="already used"):
        pool.pop(Step("mask", (3,)))


def test_a_call_uses_up_its_pool():
    arguments = inputs()
    outcome = run_call(block, *arguments)
    for party in outcome.parties:
        assert [mask.key for _, mask in party.drawn] == list(range(len(outcome.plan.steps)))
        with pytest.raises(DealerError, match="used up"):
            party.draw(outcome.plan.steps[0])


def test_a_party_without_a_pool_draws_nothing():
    outcome = run_call(mpc.square, share(torch.ones(2)))
    party = outcome.parties[0]
    party._pool = None
    with pytest.raises(DealerError, match="no correlated randomness"):
        party.draw(Step("mask", (2,)))


# ------------------------------------------------------------------------------------------------------- within a call


def shifted_dealing(monkeypatch: pytest.MonkeyPatch, moved: Step) -> None:
    """Deal as always, but move rank 0's share of one fresh mask, for the dealer and the party alike."""
    own_share = offline._own_share

    def deal_moved(step: Step, stream: Prg, rank: int) -> torch.Tensor:
        share_of_step = own_share(step, stream, rank)
        if step is not moved or rank == 1:
            return share_of_step
        return share_of_step ^ DELTA if step.kind in correlations.XOR_SHARED else share_of_step + DELTA

    monkeypatch.setattr(offline, "_own_share", deal_moved)


def openings_of(outcome: Call) -> list[tuple[torch.Tensor, int, bool]]:
    party = outcome.parties[0]
    return [(value, o.bits, o.xor) for o, value in zip(party.openings, party.opened, strict=True)]


def changed(before: list[Any], after: list[Any]) -> list[int]:
    """Return the openings that differ by more than the noise of rounding."""
    found = []
    for index, ((one, bits, xor), (two, _, _)) in enumerate(zip(before, after, strict=True)):
        gap = one ^ two if xor else ring.sign_extend(one - two, bits).abs()
        if bool((gap != 0).any() if bits == 1 or xor else (gap >= 1 << max(0, bits - 8)).any()):
            found.append(index)
    return found


@pytest.mark.parametrize("program", [block, comparisons, choice])
def test_every_mask_of_a_call_hides_exactly_one_opening(monkeypatch, program):
    arguments = inputs() if program is block else inputs()[:1]
    seeds = fresh_seeds()
    plan = plan_of(program, *arguments)
    before = openings_of(run_call(program, *arguments, seeds=seeds, plan=plan))
    hidden: Counter[int] = Counter()
    sources = {step.inputs[0] for step in plan.steps if step.kind == "odd"}
    for key, step in enumerate(plan.steps):
        if step.kind not in correlations.FRESH:
            continue
        with monkeypatch.context() as patch:
            shifted_dealing(patch, step)
            after = openings_of(run_call(program, *arguments, seeds=seeds, plan=plan))
        # A comparison opens bits of the mask of its argument, under masks of their own.
        found = [index for index in changed(before, after) if step.kind == "xor_mask" or not before[index][2]]
        # What an odd factor is made of masks the verdict by multiplication; in range, the verdict is zero all the same.
        assert len(found) == (0 if key in sources else 1), (key, step, found)
        hidden.update(found)
    verdicts = len(sources)
    assert set(hidden) == set(range(len(before) - verdicts))
    assert set(hidden.values()) == {1}


def test_there_are_as_many_openings_as_masks():
    outcome = run_call(block, *inputs())
    kinds = Counter(step.kind for step in outcome.plan.steps)
    masks = sum(kinds[kind] for kind in correlations.FRESH)
    verdicts = 1
    assert len(outcome.parties[0].openings) == masks - kinds["odd"] + verdicts


# -------------------------------------------------------------------------------------------------------- between calls


def words_of(plan: Any, seeds: tuple[bytes, bytes], call: int) -> Counter[int]:
    """Return every word of 64 bits that the parties expand for a call; shorter ones are equal by chance."""
    found: Counter[int] = Counter()
    arguments = inputs()
    weights = {weight.name: weight for weight in arguments[1:]}
    corrections = deal(plan, seeds, weights, call)
    for rank in (0, 1):
        pool = pool_of(plan, rank, seeds, weights, corrections, call)
        for step, dealt in zip(plan.steps, pool._shares, strict=True):
            expanded = step.kind in correlations.FRESH or (
                rank == 0 and correlations.is_dealt(step) and not step.weight
            )
            if expanded and step.kind not in correlations.NARROW:
                found.update(dealt.reshape(-1).tolist())
    return found


def test_no_word_of_randomness_comes_twice_in_a_session_or_in_two():
    plan = plan_of(block, *inputs())
    session, other = fresh_seeds(), fresh_seeds()
    found = [words_of(plan, session, call) for call in range(3)] + [words_of(plan, other, 0)]
    together = sum(found, Counter())
    # Among 10^5 words of 64 bits, two are equal by chance with probability 3e-10.
    assert 10_000 < sum(together.values()) < 200_000
    assert max(together.values()) == 1


def test_a_dealer_deals_a_call_once():
    plan = plan_of(block, *inputs())
    shapes = {weight.name: weight.shape for weight in inputs()[1:]}
    dealer = offline.Dealer(fresh_seeds(), shapes, torch.device("cpu"))
    dealer.deal(plan, 1, lambda _packed: None)
    with pytest.raises(DealerError, match="would be used twice"):
        dealer.deal(plan, 1, lambda _packed: None)


def test_the_same_call_of_the_same_session_would_use_the_same_words():
    # What keeps them apart is the number of the call: it must never come twice.
    plan = plan_of(block, *inputs())
    session = fresh_seeds()
    assert words_of(plan, session, 7) == words_of(plan, session, 7)


def test_dealer_and_parties_expand_the_same_shares():
    plan = plan_of(block, *inputs())
    seeds = fresh_seeds()
    weights = {weight.name: weight for weight in inputs()[1:]}
    corrections = deal(plan, seeds, weights, 5)
    again = deal(plan, seeds, weights, 5)
    assert all(torch.equal(one, two) for one, two in zip(corrections, again, strict=True))
    assert any(not torch.equal(one, two) for one, two in zip(corrections, deal(plan, seeds, weights, 6), strict=True))


def test_corrections_hide_what_they_carry():
    # Two sessions send different corrections for the same plan: they are shares, not values.
    plan = plan_of(block, *inputs())
    weights = {weight.name: weight for weight in inputs()[1:]}
    one, two = (deal(plan, fresh_seeds(), weights) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        if first.numel() > 16:
            assert not torch.equal(first, second)


def test_a_weight_is_masked_alike_in_all_calls_of_a_session_and_apart_in_others():
    seeds = fresh_seeds()
    first = offline.weight_mask(seeds[0], "layer.weight", (5, 3))
    assert torch.equal(first, offline.weight_mask(seeds[0], "layer.weight", (5, 3)))
    assert not torch.equal(first, offline.weight_mask(seeds[0], "layer.bias", (5, 3)))
    assert not torch.equal(first, offline.weight_mask(fresh_seeds()[0], "layer.weight", (5, 3)))
    calls = Prg(seeds[0]).spawn("call 0").words((5, 3))
    assert not torch.equal(first, calls)


def test_fresh_streams_differ():
    streams = [Prg.fresh().bytes(32) for _ in range(64)]
    assert len(set(streams)) == len(streams)


def test_a_stream_is_not_spawned_twice():
    parent = Prg.fresh()
    parent.spawn("call 1")
    with pytest.raises(DealerError, match="used twice"):
        parent.spawn("call 1")
