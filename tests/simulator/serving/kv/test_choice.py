"""KV memories by name, and the room for one beside the weights."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from simulator.serving.kv.choice import kv_capacity_bytes, kv_memory
from simulator.serving.kv.contiguous import ContiguousMemory
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.pages import VirtualMemory
from simulator.serving.kv.prefix import PrefixMemory
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.kv.tiered import TieredMemory
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice
from workloads.models import model, weight_bytes

SYSTEM = load_system("h100-sxm")
SIZES = kv_sizes(model("Llama-3-8B"))


def named(text: str) -> KvMemory:
    return kv_memory(text, SIZES, SYSTEM, 10e9, most_tokens=8192, prefix_tokens=512)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("paged", PagedMemory),
        ("paged:32", PagedMemory),
        ("contiguous", ContiguousMemory),
        ("contiguous:max", ContiguousMemory),
        ("pages:64KiB", VirtualMemory),
        ("prefix:16", PrefixMemory),
        ("prefix:16:leaves", PrefixMemory),
        ("prefix+ddr", PrefixMemory),
        ("paged+ddr", TieredMemory),
        ("paged:16+ddr+nvme:spill", TieredMemory),
        ("paged+remote:80GB", TieredMemory),
    ],
)
def test_kinds(text: str, kind: type) -> None:
    memory = named(text)
    assert type(memory) is kind
    assert memory.capacity_bytes == 10e9
    assert memory.admit(1, 100, 1000) is not None


def test_what_a_name_says_is_taken() -> None:
    assert named("paged:32").used_bytes == 0
    for text, used in (("paged:32", 128), ("paged", 112), ("contiguous", 1000), ("contiguous:max", 8192)):
        memory = named(text)
        memory.admit(1, 100, 1000)
        assert memory.used_bytes == used * 131_072
    small, large = named("pages:64KiB"), named("pages")
    small.admit(1, 100, 1000)
    large.admit(1, 100, 1000)
    assert (small.used_bytes, large.used_bytes) == (128 * 131_072, 1024 * 131_072)


def test_what_is_held_back_is_not_for_admissions() -> None:
    for text in ("paged", "paged+ddr"):
        memory = kv_memory(text, SIZES, SYSTEM, 100 * 16 * 131_072, watermark=0.01)
        # 99 of 100 blocks; the last is for those that run.
        assert memory.admit(1, 98 * 16, 99 * 16) is not None
        assert memory.admit(2, 17, 32) is None
        assert memory.admit(2, 16, 32) is not None
        assert memory.extend(2, 17) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pagd", "kv: unknown KV memory 'pagd'; expected paged[:TOKENS]"),
        ("paged:0", "kv: blocks of '0' tokens; expected a whole number of at least 1, in "),
        ("paged:16:4", "kv: too many parts in 'paged:16:4'; expected paged"),
        ("prefix:16:leafs", "kv: blocks of '16:leafs' tokens; expected a whole number"),
        ("contiguous:pow", "kv: unknown rule of reserving 'pow'; expected one of max, oracle, pow2; did you"),
        ("contiguous+ddr", "kv: contiguous with a tier behind it; expected paged"),
        ("pages:2", "kv: the number 2 has no unit; expected a number of bytes"),
        ("paged+dr", "kv: unknown tier to move keys and values to 'dr'; expected one of ddr, nvme, remote:SIZE"),
        ("paged+hbm", "kv: unknown tier to move keys and values to 'hbm'; expected one of ddr, nvme, remote:SIZE"),
        ("paged+ddr:spil", "kv: unknown option 'spil' of tier 'ddr'; expected paged"),
        ("prefix+ddr:spill", "kv: prefix with spilling; expected paged"),
        ("prefix+ddr+nvme", "kv: prefix with several tiers; expected paged"),
        ("prefix:24", "block_tokens: prefixes known by 512 tokens in blocks of 24; expected blocks whose"),
    ],
)
def test_errors_say_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        named(text)
    assert str(caught.value).startswith(message)


def test_room_is_what_weights_leave() -> None:
    # 0.9 x 80 GB less 8.03 G parameters of 2 B; on four devices each holds its share of all but the norms.
    found = model("Llama-3-8B")
    assert kv_capacity_bytes(found, SYSTEM) == 0.9 * 80e9 - weight_bytes(found)
    four = SYSTEM.model_copy(update={"devices": 4})
    assert kv_capacity_bytes(found, four) == pytest.approx(4 * 0.9 * 80e9 - weight_bytes(found), rel=1e-4)
    narrow = kv_capacity_bytes(found, SYSTEM, FormatChoice(weights="fp8_e4m3"), share=0.5)
    assert narrow > 0.5 * 80e9 - weight_bytes(found)
    with pytest.raises(InfeasibleError, match=r"^weights of Llama-3-70B on each device: needs 1\.4\d+e\+11 bytes"):
        kv_capacity_bytes(model("Llama-3-70B"), SYSTEM)
