"""Every bundled machine runs real models, none beats its data sheet, and the devices it names are those it states."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system, system_names
from mappers.assign import assign_roles
from simulator.interconnect.protocols import link_type
from simulator.memory.tier_services import tier_services
from simulator.policy import Policy
from simulator.road import simulate
from workloads.errors import InfeasibleError
from workloads.models.catalogue import model
from workloads.phases import Decode, Phase, Prefill


@pytest.mark.parametrize("name", system_names())
@pytest.mark.parametrize("phase", [Prefill(1, 1024), Decode(4, 1024)])
def test_every_machine_runs_real_models(name: str, phase: Phase) -> None:
    system = load_system(name)
    ran = 0
    for asked in ("Llama-3.2-1B", "OLMoE-1B-7B", "Llama-3.1-8B"):
        try:
            result = simulate(model(asked), phase, system)
        except InfeasibleError as error:
            # Only a machine without room for 16 GB may refuse, and only the largest model.
            assert asked == "Llama-3.1-8B" or error.available < 16e9  # noqa: PT017
            continue
        ran += 1
        assert result.latency_s >= result.bounds.latency_s * (1 - 1e-12)
        assert result.total_energy_j > 0
        for tier, peak in result.peak_bytes.items():
            assert peak <= result.capacity_bytes[tier]
    assert ran >= 1


@pytest.mark.parametrize("name", system_names())
def test_drives_and_links_are_those_that_the_machine_states(name: str) -> None:
    system = load_system(name)
    drives = {name: tier for name, tier in system.tiers.items() if tier.kind == "flash"}
    services = tier_services(system.model_copy(update={"tiers": drives}))  # raises where the rates differ by over 15 %
    assert set(services) == set(drives)
    for link in system.links.values():
        if link.protocol is not None:
            line = link_type(link.protocol).rate_bytes_per_s
            assert link.bandwidth_bytes_per_s == pytest.approx(line, rel=2e-3)


def test_a_model_beyond_the_sockets_memory_spills_to_the_expander() -> None:
    """812 GB of weights in 512 GB of DDR: the rest streams over the eight lanes, 32 GT/s x 128/130, every token."""
    result = simulate(model("Llama-3.1-405B"), Decode(1, 1024), load_system("cxl-expander"))
    assert result.peak_bytes["cxl"] > 290e9
    assert result.peak_bytes["nvme"] == 0
    assert result.latency_s >= 290e9 / (8 * 32e9 * 128 / 130 / 8)
    assert result.bottleneck.startswith("cxl-link")


# Machine, what runs inside its memory (nothing named: the fastest engine is inside it), and the device that computes.
INSIDE = [
    ("aim", "aim", "aim-16000"),
    ("attacc", "attacc", "attacc-bank"),
    ("duplex", "logic-pim", "duplex-logic-pim"),
    ("hbm-pim", "pim", "hbm-pim-2400"),
    ("neupims", "pim", "neupims"),
    ("csd-instinfer", "csd", "instinfer"),
    ("isaac-crossbar", None, "isaac"),
    ("floatpim", None, "floatpim"),
    ("sot-mram", None, "sot-mram"),
]


@pytest.mark.parametrize(("name", "engine", "device"), INSIDE, ids=str)
def test_memories_that_compute_at_cycle_fidelity(name: str, engine: str | None, device: str) -> None:
    """Commands, pages and gates take at least the time that the stated rates inside would."""
    policy = Policy() if engine is None else Policy(assign=assign_roles({"attention": engine}))
    system, phase = load_system(name), Decode(1, 512)
    stated = simulate(model("Llama-3.2-1B"), phase, system, policy=policy)
    cycle = simulate(model("Llama-3.2-1B"), phase, system, policy=policy, fidelity="cycle")
    assert any(device in note and "longest product" in note for note in cycle.notes)
    assert cycle.latency_s >= stated.latency_s


@pytest.mark.parametrize("name", ["cxl-expander", "edge-npu"])
def test_new_machines_at_cycle_fidelity(name: str) -> None:
    stated, cycle = (
        simulate(model("Llama-3.2-1B"), Decode(1, 512), load_system(name), fidelity=fidelity)
        for fidelity in ("roofline", "cycle")
    )
    assert stated.latency_s <= cycle.latency_s < 1.3 * stated.latency_s
