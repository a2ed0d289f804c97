"""Steps of training against peaks worked by hand, against every order there is, and in what must never cost more."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.order import Op, OrderGraph, faults
from mappers.planner.order.lowering import Counting, Patches
from mappers.planner.order.networks import Block, ConvNet, Layer, chain_network, tail_blocks
from mappers.planner.order.training import FRAMEWORK, Engine, training_graph
from mappers.planner.order.training_networks import convolutions, training_network
from mappers.planner.order.training_plan import best_step, forward_patches, plan_step, step_work
from mappers.planner.order.update import (
    SCHEMES,
    Update,
    bias_update,
    extra_bytes,
    full_update,
    last_update,
    named_update,
    weight_count,
)
from workloads.errors import InputError

HELD = Engine(at_once=False)
APART = Engine(at_once=False, fused=False)


def three() -> ConvNet:
    """8 x 8 x 3 -> 4 x 4 x 4 (108 weights) -> depthwise 4 x 4 x 4 (36) -> 4 x 4 x 8 (32) -> 8 -> 2 classes (16)."""
    blocks = (
        Block("a", (Layer("a", "conv", 3, 4, 8, 3, 2),)),
        Block("b", (Layer("b", "depthwise", 4, 4, 4, 3),)),
        Block("c", (Layer("c", "conv", 4, 8, 4),)),
    )
    return ConvNet("three", 8, (*blocks, *tail_blocks(4, 8, None, 2)))


def held(net: ConvNet, update: Update, engine: Engine) -> int:
    return plan_step(training_graph(net, update, engine)).held_bytes


def test_the_classifier_alone_takes_what_inference_takes_and_its_parameters() -> None:
    # 16 weights and 2 biases in floats: 72. The first convolution holds the image of 192 and its output of 64.
    assert held(three(), last_update(three(), 0), Engine()) == 72 + 192 + 64


def test_biases_keep_a_mask_and_no_input() -> None:
    # 72 and 8 biases: 104. The mask of 8 channels is a byte for each of 16 pixels. Where the gradient of the map of 128
    # is made from that of its 8 means: 4 * 8 + 4 * 128 + 16 + 104.
    assert held(three(), bias_update(three(), 1), Engine()) == 32 + 512 + 16 + 104


def test_weights_keep_their_input_and_a_copy() -> None:
    # The same with 32 weights, and the input of 64.
    assert held(three(), last_update(three(), 1), Engine()) == 32 + 512 + 16 + (104 + 32) + 64
    # Half of the channels: half of both.
    assert held(three(), Update(1, {2: 0.5}), Engine()) == 32 + 512 + 16 + (104 + 16) + 32


def test_a_full_update_by_hand() -> None:
    # In memory: 72, weights 108 + 36 + 32, biases 4 * (4 + 4 + 8). Where the last convolution's gradient of its input
    # is made: 4 * 128 and 4 * 64, two masks of 16, the image and the depthwise convolution's input.
    parameters = 72 + 176 + 64
    assert held(three(), full_update(three()), Engine()) == 512 + 256 + 2 * 16 + 192 + 64 + parameters
    # Gradients held: then its gradient of weights is made with all of that there, its own input of 64, the gradients of
    # the classifier (64 + 8) and of its bias (32), and itself 4 * 32.
    held_too = 64 + (64 + 8) + 32 + 128
    assert held(three(), full_update(three()), HELD) == 512 + 256 + 2 * 16 + 192 + 64 + parameters + held_too


def test_without_fusing_results_and_widened_operands_stand_beside_one_another() -> None:
    # Biases of the last: masking 4 * 128 into a tensor of its own beside zeros, with the classifier's gradients held.
    assert held(three(), bias_update(three(), 1), APART) == 3 * 512 + 16 + 104 + (64 + 8)
    # Widened weights, 4 * 36, while the depthwise convolution is gone back through, in 8 bits what they are.
    both = [replace(APART, weight_bytes=size) for size in (1, 4)]
    ops = [{op.name: op for op in training_graph(three(), bias_update(three(), 3), e).graph.ops} for e in both]
    assert [found["b back"].scratch_bytes for found in ops] == [4 * 36, 0]


def test_rounded_gradients_need_their_sums_first() -> None:
    # The gradient of 8 bits is a quarter, but it is rounded from 4 * 64 of sums, at the last convolution: 128 in, 64
    # out; masks and inputs as with floats.
    rounded = Engine(gradient_bytes=1)
    ops = {op.name: op for op in training_graph(three(), full_update(three()), rounded).graph.ops}
    assert ops["c back"].scratch_bytes == 256
    assert ops["c weights update"].scratch_bytes == 4 * 32
    assert held(three(), full_update(three()), rounded) == 128 + 64 + 256 + 2 * 16 + 192 + 64 + (72 + 176 + 64)


def test_unpruned_every_gradient_is_made() -> None:
    every = training_graph(three(), bias_update(three(), 1), replace(HELD, pruned=False)).graph
    names = {op.name for op in every.ops}
    assert {"a weights gradient", "a bias gradient", "b back", "c back"} <= names
    assert "a back" not in names
    pruned = {op.name for op in training_graph(three(), bias_update(three(), 1), HELD).graph.ops}
    assert not any(name.startswith(("a ", "b ")) for name in pruned)
    assert "c weights gradient" not in pruned
    assert "c back" not in pruned


def test_frameworks_hold_all_parameters_in_floats() -> None:
    step = training_graph(three(), last_update(three(), 0), FRAMEWORK)
    assert step.parameters_bytes == 4 * (108 + 36 + 32 + 4 + 4 + 8) + 72


def test_a_batch_multiplies_maps_and_not_parameters() -> None:
    one, two = (held(three(), bias_update(three(), 1), Engine(batch=size)) for size in (1, 2))
    assert two - one == 32 + 512 + 16


def test_sums_over_steps_are_as_wide_as_what_they_change() -> None:
    update = last_update(three(), 1)
    assert held(three(), update, Engine(accumulated=True)) - held(three(), update, Engine()) == 72 + 32 + 32


def test_work_by_hand() -> None:
    net = three()
    assert net.macs == 16 * (108 + 36 + 32) + 16
    work = step_work(net, Update(2, {2: 0.5}), Engine(), net.macs)
    # Back through the classifier and the last convolution; weights of the classifier and of half of the last.
    assert (work.activations, work.weights) == (16 + 16 * 32, 16 + 16 * 16)
    full = step_work(net, full_update(net), Engine(), net.macs)
    assert full.total == 3 * net.macs - 16 * 108  # no gradient of the image


def _lowest_peak(graph: OrderGraph) -> int:
    """The lowest peak over all orders: whatever has run, what is there is the same in any order."""
    size = {tensor.name: tensor.bytes for tensor in graph.tensors}
    made = {name for op in graph.ops for name in op.writes}

    def held(op: Op, done: frozenset[Op]) -> int:
        left = [other for other in graph.ops if other not in done and other != op]
        later = {name for other in left for name in other.reads} | set(graph.outputs)
        there = [name for name in size if name not in made or any(name in other.writes for other in done)]
        there = [name for name in there if name in later or name in op.reads]
        saved = [min(size[name], size[op.writes[0]]) for name in op.in_place if name not in later]
        return sum(size[name] for name in {*there, *op.writes}) + op.scratch_bytes - max(saved, default=0)

    @cache
    def rest(done: frozenset[Op]) -> int:
        there = {name for op in done for name in op.writes}
        ready = [op for op in graph.ops if op not in done and all(n in there or n not in made for n in op.reads)]
        return min((max(held(op, done), rest(done | {op})) for op in ready), default=0)

    return rest(frozenset())


@pytest.mark.parametrize("engine", [Engine(), HELD, APART, Engine(gradient_bytes=1)])
@pytest.mark.parametrize("weights", [{}, {0: 1.0}, {0: 0.5}])
def test_the_best_order_is_the_best_of_all(engine: Engine, weights: dict[int, float]) -> None:
    net = ConvNet("one", 4, (Block("a", (Layer("a", "conv", 2, 4, 4),)), *tail_blocks(4, 4, None, 2)))
    step = training_graph(net, Update(1, weights), engine)
    lowest, best = _lowest_peak(step.graph), best_step(step)
    assert best.held_bytes == lowest == best.lower_bound_bytes
    assert plan_step(step).held_bytes >= lowest


@st.composite
def _networks(draw: st.DrawFn) -> ConvNet:
    rows = [
        (draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((4, 8))), draw(st.sampled_from((1, 2))), 3)
        for _ in range(draw(st.integers(1, 4)))
    ]
    return chain_network("drawn", draw(st.sampled_from((8, 16, 18))), 4, rows, None, draw(st.integers(2, 9)))


@st.composite
def _engines(draw: st.DrawFn) -> Engine:
    flags = {name: draw(st.booleans()) for name in ("in_place", "fused", "at_once", "pruned", "from_flash")}
    return Engine(gradient_bytes=draw(st.sampled_from((1, 4))), batch=draw(st.integers(1, 3)), **flags)


@settings(max_examples=60, deadline=None)
@given(_networks(), _engines(), st.data())
def test_steps_hold_and_nothing_less_costs_more(net: ConvNet, engine: Engine, data: st.DataObject) -> None:
    total = len(convolutions(net))
    biases = data.draw(st.integers(0, total))
    chosen = data.draw(st.sets(st.integers(total - biases, total - 1))) if biases else set()
    update = Update(biases, dict.fromkeys(chosen, 1.0))
    step = training_graph(net, update, engine)
    plan = plan_step(step)
    assert not faults(step.graph, step.order, plan.held_bytes)
    assert plan.lower_bound_bytes <= plan.held_bytes <= plan.placed_bytes
    # Gradients applied at once, fused, pruned: never more. The same without.
    for flag in ("at_once", "fused", "pruned"):
        more, less = (held(net, update, replace(engine, **{flag: on})) for on in (False, True))
        assert less <= more, flag
    # Fewer weights, fewer biases: never more, where no gradients are made that nothing takes at once.
    fewer = data.draw(st.integers(0, biases))
    part = {index: 1.0 for index in chosen if index >= total - fewer and data.draw(st.booleans())}
    pruned = replace(engine, pruned=True)
    assert held(net, Update(fewer, part), pruned) <= held(net, update, pruned)
    assert extra_bytes(net, Update(fewer, part)) <= extra_bytes(net, update)


@settings(max_examples=25, deadline=None)
@given(_networks(), st.data())
def test_no_order_is_below_the_bound(net: ConvNet, data: st.DataObject) -> None:
    update = last_update(net, data.draw(st.integers(0, len(convolutions(net)))))
    step = training_graph(net, update, data.draw(_engines()))
    best = best_step(step, patience=50)
    assert best.lower_bound_bytes <= best.held_bytes <= plan_step(step).held_bytes
    assert not faults(step.graph, best.order, best.held_bytes)


def test_patches_bring_down_the_forward_pass_only() -> None:
    net, counting = training_network("mcunet-5fps"), Counting()
    update = named_update("mcunet-5fps", 99)
    plan = forward_patches(net, update, 2, counting)
    assert plan.patches is not None
    whole, patched = (training_graph(net, update, Engine(), patches) for patches in (None, plan.patches))
    # Map by map the second block holds 64 x 64 x (8 + 32).
    assert plan_step(whole).held_bytes == 64**2 * 40 + whole.parameters_bytes
    assert plan_step(patched).held_bytes < plan_step(whole).held_bytes
    assert forward_patches(net, full_update(net), 2, counting).patches is None


def _check_order(name: str, update: Update) -> None:
    """The engine's order is proved as good as any, and offsets cost a hundredth."""
    net = training_network(name)
    step = training_graph(net, update, Engine(), forward_patches(net, update, 2, Counting()).patches)
    plan, best = plan_step(step), best_step(step)
    assert plan.held_bytes == best.held_bytes == best.lower_bound_bytes
    assert plan.placed_bytes <= 1.01 * plan.held_bytes


@pytest.mark.parametrize("name", SCHEMES)
def test_the_order_of_a_published_scheme_is_as_good_as_any(name: str) -> None:
    _check_order(name, list(SCHEMES[name].values())[2])


@pytest.mark.slow
def test_the_orders_of_all_published_schemes_are_as_good_as_any() -> None:
    for name, schemes in SCHEMES.items():
        for update in schemes.values():
            _check_order(name, update)


@pytest.mark.parametrize(("name", "kib"), [(name, kib) for name, schemes in SCHEMES.items() for kib in schemes])
def test_schemes_add_what_they_are_called_after(name: str, kib: int) -> None:
    """compilation/mcu_ir_gen.py of mit-han-lab/tiny-training at c29157f: the KiB, cut to a whole number."""
    assert int(extra_bytes(training_network(name), named_update(name, kib)) / 1024) == kib


def test_the_last_twelve_layers_add_what_is_published() -> None:
    """algorithm/scripts/sparse_update.sh: "uses 448KB"."""
    net = training_network("mcunet-5fps")
    assert int(extra_bytes(net, last_update(net, 12)) / 1024) == 448
    # Section 3.2: the last two blocks of it are beyond 256 KB.
    assert extra_bytes(net, last_update(net, 6)) > 256 * 1024


@pytest.mark.parametrize(
    ("name", "count", "macs_m", "parameters_m"),
    [("mbv2-w0.35", 51, 17, 0.25), ("proxyless-w0.3", 60, 19, 0.33), ("mcunet-5fps", 42, 23, 0.48)],
)
def test_networks_are_as_published(name: str, count: int, macs_m: float, parameters_m: float) -> None:
    """Section 3.1 gives work and parameters; the schemes number so many convolutions."""
    net = training_network(name)
    layers = convolutions(net)
    assert len(layers) == count
    assert net.macs / 1e6 == pytest.approx(macs_m, abs=0.6)
    assert sum(weight_count(one) + one.channels_out for one in layers) / 1e6 == pytest.approx(parameters_m, abs=0.015)


def test_proxyless_is_the_one_of_the_zoo() -> None:
    """38.3M at 176 pixels in mcunet/README.md of mit-han-lab/tinyml at e899b1b; exactly, by fvcore, 38,282,216."""
    assert training_network("proxyless-w0.3", 176, 1000, head=384).macs == 38_282_216


def test_weights_of_a_generated_program() -> None:
    """examples/openmv_training/codegen/Include/genModel.h of mit-han-lab/tinyengine at 03b52da: flash 420520."""
    rows = (
        (1, 8, 1, 3), (6, 16, 2, 3), (3, 16, 1, 3), (3, 16, 1, 3), (3, 24, 2, 7), (6, 24, 1, 3), (5, 24, 1, 5),
        (6, 40, 2, 7), (6, 40, 1, 7), (6, 48, 1, 3), (4, 48, 1, 3), (5, 96, 2, 5), (5, 96, 1, 3), (4, 96, 1, 3),
        (3, 160, 1, 7),
    )  # fmt: skip
    net = chain_network("person detection", 120, 16, rows, None, 2)
    assert sum(weight_count(one) for one in (*convolutions(net), net.blocks[-1].layers[-1])) == 420_520


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (Update(4, {}), "0 to 3"),
        (Update(1, {1: 1.0}), "2 to 2"),
        (Update(1, {2: 1.5}), "0 to 1"),
    ],
)
def test_updates_that_a_network_has_not(update: Update, message: str) -> None:
    with pytest.raises(InputError, match=message):
        training_graph(three(), update, Engine())


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="1 or more"):
        training_graph(three(), last_update(three(), 0), Engine(batch=0))
    with pytest.raises(InputError, match="no gradient reaches"):
        training_graph(three(), last_update(three(), 2), Engine(), Patches(2, 2, 2))
    with pytest.raises(InputError, match="did you mean 'mcunet-5fps'"):
        named_update("mcunet-6fps", 99)
    with pytest.raises(InputError, match="49, 74, 99, 124, 148"):
        named_update("mcunet-5fps", 100)
    with pytest.raises(InputError, match="classes"):
        training_network("mcunet-5fps", classes=0)
