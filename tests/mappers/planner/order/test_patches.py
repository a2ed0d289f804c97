"""Patches: receptive fields by hand, a network small enough for a sheet of paper, and MobileNetV2 as published."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.order import faults, plan_memory
from mappers.planner.order.lowering import Counting, Patches, patched_graph
from mappers.planner.order.networks import Block, ConvNet, Layer, network
from mappers.planner.order.patches import choose_patches, chosen_graph, price_patches, whole_plan
from mappers.planner.order.regions import cuts, needed
from mappers.planner.order.steps import profile
from workloads.errors import InputError


def tiny() -> ConvNet:
    """Three convolutions of 3x3: 8 x 8 x 3 to 8 x 8 x 4, that to 8 x 8 x 1, that by stride 2 to 4 x 4 x 1; a mean."""
    return ConvNet(
        "tiny",
        8,
        (
            Block("one", (Layer("one", "conv", 3, 4, 8, 3),)),
            Block("two", (Layer("two", "conv", 4, 1, 8, 3),)),
            Block("three", (Layer("three", "conv", 1, 1, 8, 3, 2),)),
            Block("four", (Layer("four", "pool", 1, 1, 4),)),
        ),
    )


def test_cuts_differ_by_one_at_most() -> None:
    assert cuts(7, 3) == [(0, 2), (2, 4), (4, 7)]
    assert cuts(28, 4) == [(0, 7), (7, 14), (14, 21), (21, 28)]


def test_receptive_fields_by_hand() -> None:
    # Output [4, 8) of the second convolution needs [3, 8) of its input (the right of it is the border), that [2, 8).
    assert needed(tiny().blocks[:2], (4, 8)) == [[(2, 8), (3, 8)], [(3, 8), (4, 8)]]
    # Stride 2, padding 1, kernel 3: pixels 1 and 2 need 1..5.
    assert needed(tiny().blocks[2:3], (1, 3)) == [[(1, 6), (1, 3)]]
    # MobileNetV2's inner 7 x 7 patch at 28 x 28 looks at 75 x 75 pixels of the image.
    regions = needed(network("mobilenet-v2").blocks[:5], (7, 14))
    assert regions[0][0][1] - regions[0][0][0] == 75


def test_a_patched_network_on_a_sheet_of_paper() -> None:
    # 2 x 2 patches of the first two blocks. Each is a corner: 4 x 4 out, 5 x 5 x 4 between, 6 x 6 x 3 of the image.
    # The stage's output, 64 bytes, is there throughout.
    plan = price_patches(tiny(), Patches(2, 2, 2), Counting())
    assert plan.patch_bytes == 64 + 6 * 6 * 3 + 5 * 5 * 4
    assert plan.rest_bytes == 64 + 16
    assert plan.peak_bytes == 272
    # With the image held: 192 bytes of it beside 64 and 100.
    held = price_patches(tiny(), Patches(2, 2, 2), Counting(streamed=False))
    assert held.patch_bytes == 64 + 192 + 100
    # Three blocks in two rows, 16 bytes out: output rows [0, 2) need rows [0, 4), [0, 5), [0, 6) upwards. The image,
    # still wanted, is beside the second step, 5 x 8 x 4 and 4 x 8; the second row alone may drop it, and is as high.
    deep = price_patches(tiny(), Patches(3, 2, 1), Counting(streamed=False))
    assert [r[0] for r in needed(tiny().blocks[:3], (0, 2))] == [(0, 6), (0, 5), (0, 4)]
    assert deep.patch_bytes == 16 + 192 + 8 * (5 * 4 + 4)
    # Work: the second layer as before, of the first 4 x 25 pixels and not 64.
    assert plan.macs_whole == 64 * 9 * 3 * 4 + 64 * 9 * 4 + 16 * 9
    assert plan.macs == 100 * 9 * 3 * 4 + 64 * 9 * 4 + 16 * 9
    # Map by map the peak is the first layer's 192 + 256, or the second's 256 + 64.
    assert whole_plan(tiny(), Counting()).peak_bytes == 448


def test_mobilenet_v2_in_patches_by_hand() -> None:
    # Patches of 7 x 7 x 32; inner ones hold 35 x 35 x (16 + 96) when the second block expands, beside 28 x 28 x 32.
    net = network("mobilenet-v2")
    plan = price_patches(net, Patches(5, 4, 4), Counting(accumulate=True))
    assert plan.patch_bytes == 35**2 * 112 + 28**2 * 32
    # The rest begins with 28 x 28 x (32 + 192): 171.5 KiB, published as 172 kB, 8 times less than 1372 kB.
    assert plan.rest_bytes == plan.peak_bytes == 28**2 * 224
    # With additions of their own the input is beside the projection: 32 + 192 + 32 channels.
    assert price_patches(net, Patches(5, 4, 4), Counting()).rest_bytes == 28**2 * 256


def test_the_planner_finds_what_was_published() -> None:
    net, counting = network("mobilenet-v2"), Counting(accumulate=True)
    best = choose_patches(net, counting)
    assert best.patches == Patches(5, 4, 4)
    # With 256 KiB fewer patches will do, and less is computed twice.
    fits = choose_patches(net, counting, 256 * 1024)
    assert fits.peak_bytes <= 256 * 1024
    assert fits.macs < best.macs
    # With the memory to run map by map nothing is computed twice.
    assert choose_patches(net, counting, 1372 * 1024).patches is None
    assert choose_patches(net, counting, 1372 * 1024 - 1).patches is not None


def test_a_grid_that_is_given_is_kept() -> None:
    plan = choose_patches(network("mcunet-in1"), Counting(), grid=(2, 3))
    assert plan.patches is not None
    assert (plan.patches.rows, plan.patches.columns) == (2, 3)
    with pytest.raises(InputError, match="expected a pixel or more in each"):
        price_patches(tiny(), Patches(3, 5, 1), Counting())
    with pytest.raises(InputError, match="expected 1 to 3"):
        price_patches(tiny(), Patches(4, 1, 1), Counting())
    with pytest.raises(InputError, match="no more than the first map"):
        choose_patches(tiny(), Counting(), grid=(9, 1))


@pytest.mark.parametrize("capacity", [None, 20_000, 30_000, 45_000])
def test_leaving_out_what_is_hopeless_changes_nothing(capacity: int | None) -> None:
    net, counting = network("mcunet-in0"), Counting(streamed=capacity != 30_000)
    every = [whole_plan(net, counting)]
    for blocks in range(1, len(net.blocks)):
        side = net.blocks[blocks - 1].layers[-1].side_out
        for rows in range(1, min(4, side) + 1):
            every += [price_patches(net, Patches(blocks, rows, c), counting) for c in range(1, min(4, side) + 1)]
    found = choose_patches(net, counting, capacity)
    fitting = [plan for plan in every if capacity is not None and plan.peak_bytes <= capacity]
    if fitting:
        assert found.macs <= min(plan.macs for plan in fitting)
        assert found.peak_bytes <= (capacity or 0)
    else:
        assert found.peak_bytes <= min(plan.peak_bytes for plan in every)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_prices_are_those_of_the_whole_graph(
    blocks: int, rows: int, columns: int, in_place: bool, accumulate: bool, streamed: bool
) -> None:
    net = network("mcunet-in1", 64)
    side = net.blocks[blocks - 1].layers[-1].side_out
    patches = Patches(blocks, min(rows, side), min(columns, side))
    counting = Counting(in_place, accumulate, streamed)
    graph = patched_graph(net, patches, counting)
    steps = profile(graph, range(len(graph.ops)))
    price = price_patches(net, patches, counting)
    # Every patch in one graph, one after the other: the same peak as the largest patch and the rest apart. The first
    # step holds the image and the stage before any patch is fetched; a patch holds more.
    assert max(step.during_bytes for step in steps) == price.peak_bytes
    assert not faults(graph, [op.name for op in graph.ops], price.peak_bytes)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 14), st.integers(1, 6))
def test_patches_cover_the_maps_and_no_more_than_needed(blocks: int, parts: int) -> None:
    staged = network("mcunet-in3").blocks[:blocks]
    side = staged[-1].layers[-1].side_out
    parts = min(parts, side)
    regions = [needed(staged, part) for part in cuts(side, parts)]
    for b, block in enumerate(staged):
        for i in range(len(block.layers)):
            covered = {x for region in regions for x in range(*region[b][i + 1])}
            assert covered == set(range(block.layers[i].side_out)) or block.layers[i].stride > 1
    if parts == 1:
        assert regions[0][-1][-1] == (0, side)


def test_what_is_chosen_is_placed_at_its_price() -> None:
    net, counting = network("mbv2-w0.35"), Counting()
    plan = choose_patches(net, counting)
    placed = plan_memory(chosen_graph(net, plan, counting))
    assert placed.peak_bytes == plan.peak_bytes
    assert placed.status == "proved_optimal"
    assert whole_plan(net, counting).peak_bytes == pytest.approx(290_304)
    assert plan.peak_bytes < 290_304 / 2
