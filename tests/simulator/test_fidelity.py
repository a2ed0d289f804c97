"""The same call at two depths: a mapped run is never faster than the roofline's, and keeps its bounds and memory."""

from __future__ import annotations

import json

import pytest

from dse.cli.entry import run
from hw.spec.load import load_system, override
from simulator.road import simulate
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.phases import Decode, Phase, Prefill

H100 = load_system("h100-sxm")


@pytest.mark.parametrize("phase", [Decode(8, 512), Prefill(1, 512)], ids=["decode", "prefill"])
def test_mapped_is_never_faster(phase: Phase) -> None:
    roofline = simulate(model("Llama-3.1-8B"), phase, H100)
    mapped = simulate(model("Llama-3.1-8B"), phase, H100, fidelity="mapped")
    assert (roofline.fidelity, mapped.fidelity) == ("roofline", "mapped")
    assert mapped.latency_s >= roofline.latency_s
    assert mapped.latency_s >= mapped.bounds.latency_s * (1 - 1e-9)
    assert mapped.peak_bytes == roofline.peak_bytes
    assert mapped.placement_bytes == roofline.placement_bytes
    assert all(ours.time_s >= theirs.time_s for ours, theirs in zip(mapped.ops, roofline.ops, strict=True))
    assert any("roofline fidelity" in note for note in mapped.notes)


def test_a_smaller_cache_costs_time_at_mapped_fidelity_only() -> None:
    small = override(H100, ["tiers.l2.capacity=256 KiB"])
    phase = Prefill(1, 256)
    assert simulate(model("GPT-2"), phase, small).latency_s == simulate(model("GPT-2"), phase, H100).latency_s
    mapped = [simulate(model("GPT-2"), phase, system, fidelity="mapped").latency_s for system in (small, H100)]
    assert mapped[0] > mapped[1]


def test_an_unknown_fidelity_is_refused() -> None:
    with pytest.raises(InputError, match="unknown fidelity 'cycles'"):
        simulate(model("GPT-2"), Decode(1, 64), H100, fidelity="cycles")


def test_the_command_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "--model", "gpt-2", "--system", "h100-sxm", "--context", "128", "--fidelity", "mapped"]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fidelity"] == "mapped"
    cached = ["simulate", "--model", "mixtral-8x7b", "--system", "a40", "--expert-cache", "3", "--context", "64"]
    assert run([*cached, "--fidelity", "mapped", "--steps", "4", "--warmup", "4"]) == 0
