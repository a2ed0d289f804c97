"""Mapped operations against their rooflines, and against arithmetic by hand where the mapping is plain."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system, override
from mappers.map_workload import OpMapper, map_workload, op_problem
from mappers.mapped import MappedOp
from mappers.roofline import roofline_workload
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.catalogue import model
from workloads.models.layer_builder import LayerBuilder, activation
from workloads.models.lower import lower
from workloads.phases import Decode, Phase, Prefill
from workloads.workload import Op

A100 = load_system("a100-80gb-sxm")


def gemm(m: int, n0: int, n1: int, weights: str = "bf16") -> Op:
    layer = LayerBuilder("test", FormatChoice(weights=weights))
    matrix = layer.store("w", "feed_forward", n0 * n1)
    sizes = {"m": m, "n0": n0, "n1": n1}
    layer.op("product", "gemm", "gemm", sizes, {"A": activation("a"), "W": matrix}, {"Z": activation("z")})
    return layer.build().ops[0]


def test_a_product_that_fits_the_buffer_is_its_roofline() -> None:
    mapping = OpMapper(A100)(gemm(512, 512, 512))
    assert mapping.reason is None
    assert mapping.mapped == mapping.roofline


def test_a_small_buffer_reads_operands_again() -> None:
    small = override(A100, ["tiers.l2.capacity=64 KiB"])
    mapping = OpMapper(small)(gemm(1024, 1024, 1024))
    # Any schedule with a buffer of S words moves at least 2 MNK / sqrt(S) - 2 S words in and out (Smith et al., arXiv
    # 1702.02017); with S = 32 Ki words that is 2 x 1024^3 / 181 - 65,536.
    words = (mapping.mapped.read_bytes + mapping.mapped.write_bytes) / 2
    assert words >= 2 * 1024**3 / (32 * 1024) ** 0.5 - 2 * 32 * 1024
    # One whole tile of Z of 160 x 160 and a sliver each of A and W move less than 1.5 times that.
    assert words <= 1.5 * 2 * 1024**3 / (32 * 1024) ** 0.5
    assert mapping.mapped.time_s > mapping.roofline.time_s
    assert mapping.mapped.bound == "hbm"


def test_storage_formats_keep_their_scales() -> None:
    mapping = OpMapper(A100)(gemm(1, 4096, 4096, "int4_g128"))
    # 4 + 20 / 128 bits for each weight: AWQ's groups of 128 with fp16 scales and 4-bit zeros.
    assert mapping.mapped.read_bytes == 2 * 4096 + 4096**2 * (4 + 20 / 128) / 8
    problem, times = op_problem(gemm(1, 4096, 4096, "int4_g128"))
    assert dict(problem.bits) == {"A": 16, "W": 5, "Z": 16}
    assert times == 1


def test_an_array_that_does_not_fill_takes_longer() -> None:
    tpu = load_system("tpu-v4i")
    # 64 of 128 rows work: the reduction has 64 steps, and nothing else may be spread along the rows.
    mapping = OpMapper(tpu)(gemm(8192, 64, 8192))
    (share,) = mapping.mapped.shares
    assert share.engine == "mxu"
    assert share.seconds == pytest.approx(2 * mapping.roofline.shares[0].seconds)


def test_more_than_one_pass_is_mapped_whole() -> None:
    layer = LayerBuilder("test", FormatChoice())
    sizes = {"b": 1, "h": 1, "g": 1, "p": 16, "m": 64, "e": 8, "f": 8}
    for cascade in ("attention-1pass", "attention-3pass"):
        reads = {name: activation(name) for name in ("Q", "K", "V")}
        layer.op(cascade, "attention", cascade, sizes, reads, {"AV": activation("AV")})
    once, thrice = (op_problem(op)[0] for op in layer.build().ops)
    # The 3-pass cascade: scores, maximum, numerator, denominator, quotient, product.
    assert (len(once.einsums), len(thrice.einsums)) == (2, 6)


def test_what_leaves_an_array_empty_runs_on_the_engine_beside_it() -> None:
    workload = lower(model("Mixtral-8x7B"), Prefill(1, 512))
    (op,) = {op.name: op for layer, _ in workload.layers() for op in layer.ops if op.name == "combine"}.values()
    mapping = OpMapper(load_system("tpu-v4i"))(op)
    # A sum of two experts' rows fills 2 of 128 x 128 processing elements.
    assert mapping.reason == "faster on engine 'vpu'"
    assert [share.engine for share in mapping.mapped.shares] == ["vpu"]
    assert mapping.mapped.time_s >= mapping.roofline.time_s


def test_groups_of_a_grouped_product_are_mapped_alone() -> None:
    workload = lower(model("Mixtral-8x7B"), Prefill(1, 512))
    (op,) = {op.name: op for layer, _ in workload.layers() for op in layer.ops if op.name == "experts_up"}.values()
    problem, times = op_problem(op)
    # 1024 rows over 8 experts; 512 tokens touch all of them but for a share of (3/4)^512.
    assert times == pytest.approx(8)
    assert problem.einsums[0].size["m"] == 128
    mapping = OpMapper(A100)(op)
    assert mapping.mapped.read_bytes >= op.bytes("read")


@pytest.mark.parametrize("name", ["GPT-2", "Llama-3.1-8B", "Mixtral-8x7B", "DeepSeek-V2-Lite"])
@pytest.mark.parametrize("phase", [Decode(4, 300), Prefill(1, 300)], ids=["decode", "prefill"])
def test_no_mapped_operation_beats_its_roofline(name: str, phase: Phase) -> None:
    workload = lower(model(name), phase)
    mapped, roofline = map_workload(workload, A100), roofline_workload(workload, A100)
    assert (mapped.fidelity, mapped.home) == ("mapped", roofline.home)
    for layer, found in mapped.layers.items():
        for op_name, op in found.ops.items():
            assert_not_below(op, roofline.layers[layer].ops[op_name])


def assert_not_below(mapped: MappedOp, roofline: MappedOp) -> None:
    assert mapped.time_s >= roofline.time_s
    assert mapped.read_bytes >= roofline.read_bytes
    assert mapped.write_bytes >= roofline.write_bytes
    energies = zip(mapped.shares, roofline.shares, strict=True)
    assert all(ours.energy_j >= theirs.energy_j for ours, theirs in energies)


def test_equal_shapes_are_searched_once() -> None:
    mapper = OpMapper(A100)
    first, second = mapper(gemm(64, 128, 256)), mapper(gemm(64, 128, 256))
    assert first == second
    assert (len(mapper.results), mapper.hits) == (1, 1)
    mapper(gemm(64, 128, 257))
    assert (len(mapper.results), mapper.hits) == (2, 1)


def test_what_cannot_be_mapped_stays_at_the_roofline_and_is_named() -> None:
    workload = lower(model("Mixtral-8x7B"), Decode(1, 64))
    mapped = map_workload(workload, A100)
    notes = "\n".join(mapped.notes())
    assert "at roofline fidelity (no contraction to tile): embedding.embed, layer.attention_norm" in notes
    assert "layer.qkv" not in notes
    phone = load_system("phone-ufs4")
    without = map_workload(lower(model("GPT-2"), Decode(1, 64)), phone)
    assert any("states no buffers" in note for note in without.notes())


def test_an_unknown_fidelity_is_refused() -> None:
    with pytest.raises(InputError, match="unknown fidelity 'maped'"):
        map_workload(lower(model("GPT-2"), Decode(1, 64)), A100, fidelity="maped")
