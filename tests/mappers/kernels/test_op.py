"""Operations at kernel fidelity: never below the roofline, what stays there and why, notes, memory of shapes."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system, override
from mappers.assign import on_engine
from mappers.kernels.constants import Entry
from mappers.kernels.op import KernelMapper, kernel_op
from mappers.kernels.time import SIZE_CLASSES, Spread
from mappers.map_workload import map_workload
from mappers.roofline import roofline_op
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.catalogue import model
from workloads.models.layer_builder import LayerBuilder, activation
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode, Phase, Prefill
from workloads.workload import Op

H100 = load_system("h100-sxm")
A100 = load_system("a100-80gb-sxm")


def product(m: int, n: int, k: int, formats: FormatChoice | None = None) -> Op:
    layer = LayerBuilder("made-up", formats or FormatChoice())
    weights = layer.store("weights", "feed_forward", k * n)
    reads = {"A": activation("a"), "W": weights}
    layer.op("gemm", "gemm", "gemm", {"m": m, "n0": k, "n1": n}, reads, {"Z": activation("z")})
    return layer.build().ops[0]


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Mixtral-8x7B", "DeepSeek-V3", "GPT-2", "gpt-oss-120b", "Falcon-7B"])
@pytest.mark.parametrize("phase", [Prefill(1, 700), Decode(1, 300), Decode(48, 900)], ids=lambda phase: str(phase))
@pytest.mark.parametrize(("system", "epoch"), [(H100, None), (A100, "torch-2024"), (A100, "torch-2023")])
def test_no_operation_is_faster_than_its_roofline(name: str, phase: Phase, system, epoch: str | None) -> None:  # type: ignore[no-untyped-def]
    workload = lower(model(name), phase, stored_formats(model(name)))
    mapped = map_workload(workload, system, fidelity="kernel", software=epoch)
    assert mapped.at_roofline == ()
    for layer in mapped.layers.values():
        for op in layer.ops.values():
            bound = roofline_op(op.op, system)
            assert op.time_s >= bound.time_s - bound.overhead_s, op.op.name
            low, high = op.interval_s
            assert low <= op.time_s <= high
            assert (op.read_bytes, op.write_bytes) == (bound.read_bytes, bound.write_bytes)


def test_engines_without_kernels_stay_at_the_roofline_and_say_so() -> None:
    phone = load_system("phone-ufs4")
    workload = lower(model("GPT-2"), Decode(1, 64))
    mapped = map_workload(workload, phone, fidelity="kernel")
    roofline = map_workload(workload, phone, fidelity="roofline")
    ((reason, names),) = mapped.at_roofline
    assert "states no units and no clock and no architecture" in reason
    assert len(names) == sum(len(layer.ops) for layer in mapped.layers.values())
    for name, layer in mapped.layers.items():
        assert layer.ops == roofline.layers[name].ops


def test_memory_that_computes_has_no_kernels() -> None:
    mapping = KernelMapper(load_system("hbm-pim"), on_engine("pim"))(product(1, 512, 512))
    assert mapping.reason == "engine 'pim' states no units and no clock and no architecture, which kernels are cut for"
    assert mapping.mapped == mapping.roofline


def test_notes_tell_the_software_and_whose_constants() -> None:
    workload = lower(model("Llama-3.1-8B"), Decode(4, 256))
    notes = map_workload(workload, load_system("rtx-4090"), fidelity="kernel", software="vllm-0.24").notes()
    assert "kernels of vllm-0.24" in notes
    assert any(note.startswith("gemm kernels: ada takes the constants of") for note in notes)


def test_shapes_are_mapped_once() -> None:
    mapper = KernelMapper(H100)
    first, again = mapper(product(64, 4096, 4096)), mapper(product(64, 4096, 4096))
    assert first.mapped.time_s == again.mapped.time_s
    assert len(mapper._times) == 1
    mapper(product(65, 4096, 4096))
    assert len(mapper._times) == 2


def test_fp8_takes_less_time_than_bf16() -> None:
    narrow = FormatChoice("fp8_e4m3", "bf16", "bf16", "fp8_e4m3")
    for m in (1, 4096):
        assert kernel_op(product(m, 8192, 8192, narrow), H100).time_s < kernel_op(product(m, 8192, 8192), H100).time_s


def test_weights_of_four_bits_move_a_quarter() -> None:
    """A matrix by a vector is bound by its bytes, 0.5 + 2/128 a weight instead of 2."""
    quarter = kernel_op(product(1, 16384, 16384, FormatChoice("int4_g128")), H100)
    whole = kernel_op(product(1, 16384, 16384), H100)
    assert 0.2 < quarter.port_s / whole.port_s < 0.3


def test_an_eager_epoch_pays_its_calls() -> None:
    """Tens of microseconds from PyTorch of 2023, a few from a graph."""
    op = product(1, 1024, 1024)
    assert kernel_op(op, A100, software="torch-2023").time_s > 25e-6 > 10e-6 > kernel_op(op, A100).time_s


def test_given_constants_stand_first() -> None:
    values = {
        "compute_efficiency": 0.5, "memory_efficiency": 0.25, "launch_s": 1e-6, "wave_overlap": 0.5,
        "exposed_share": 0.0, "sustained_loss": 0.0, "narrow_compute_share": 1.0, "narrow_launch_s": 0.0,
    }  # fmt: skip
    spread = dict.fromkeys(SIZE_CLASSES, Spread(0.5, 2.0))
    mine = Entry("gemm", "hopper", "vllm-0.24", "h100-sxm", values, spread, "fitted: made up")
    mapped = KernelMapper(H100, given=(mine,))(product(1, 16384, 16384)).mapped
    assert mapped.port_s == pytest.approx(4 * (mapped.read_bytes + mapped.write_bytes) / 3.35e12, rel=1e-3)
    assert mapped.spread == (0.5, 2.0)


def test_software_is_refused_where_there_are_no_kernels() -> None:
    workload = lower(model("GPT-2"), Decode(1, 64))
    with pytest.raises(InputError, match=r"software: 'vllm-0\.24' at roofline fidelity"):
        map_workload(workload, H100, fidelity="roofline", software="vllm-0.24")
    with pytest.raises(InputError, match=r"unknown software 'vllm'"):
        map_workload(workload, H100, fidelity="kernel", software="vllm")


def test_more_units_or_bandwidth_never_take_longer() -> None:
    op = product(512, 8192, 8192)
    base = kernel_op(op, H100).time_s
    assert kernel_op(op, override(H100, ["tiers.hbm.bandwidth=4.8 TB/s"])).time_s <= base
    assert kernel_op(product(1, 8192, 8192), override(H100, ["tiers.hbm.bandwidth=4.8 TB/s"])).time_s < base
