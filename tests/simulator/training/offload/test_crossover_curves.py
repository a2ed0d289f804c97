"""All three crossovers at once: closed forms on a machine of products alone, and what must rise with what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.spec.load import load_system, override, override_values
from hw.spec.system import System
from simulator.training.offload.crossover_curves import Question, Way, crossovers
from simulator.training.offload.model_widths import at_width
from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.counts import parameters

RATE = 300e12
HIDDEN = 2048
LINK = 20e9
ALL, INPUTS = Way("none", "roofline"), Way("full", "roofline")


def gpt(hidden: int, layers: int = 2) -> Model:
    heads = hidden // 128
    block = Block(Attention(heads, heads, 128, rotary=False), FeedForward(4 * hidden, False, "gelu"), "layer")
    return Model("gpt", "gpt", hidden, 1024, (block,), (0,) * layers, False, positions=0)


def products_only(rate: float = RATE, link: float = LINK) -> System:
    """Memory and launches are free; the link gives ``link`` of what is 31.5 / 25 times as much."""
    changes: dict[str, float] = {
        "tiers.hbm.bandwidth": 1e21,
        "tiers.hbm.capacity": 1e18,
        "links.host-pcie.bandwidth": link * 31.5 / 25,
    }
    system = load_system("a100-80gb-sxm")
    for name, engine in system.engines.items():
        changes[f"engines.{name}.launch_overhead"] = 0.0
        for form in engine.throughput_ops_per_s:
            changes[f"engines.{name}.throughput.{form}"] = rate if name == "tensor" else 0.999 * rate
    return override_values(system, changes)


def question(system: System, **changes: object) -> Question:
    asked = Question(gpt(HIDDEN), system, (256, 1 << 18), 4096, (1, 4))
    return replace(asked, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small() -> Question:
    return question(products_only())


def test_the_context_by_hand(small: Question) -> None:
    """32 h + 16 + a / 32 bytes a token over the link take as long as 24 h^2 + 2 (s + 1) h over the rate."""
    found = crossovers(small)
    by_hand = ((32 * HIDDEN + 16 + HIDDEN / 32) * RATE / LINK - 24 * HIDDEN**2) / (2 * HIDDEN) - 1
    assert found.host.link_bytes_per_s == pytest.approx(LINK)
    assert found.host.hides_from[ALL] == pytest.approx(by_hand, rel=0.02, abs=64)
    # Kept inputs: 2 h bytes for the same work.
    by_hand = (2 * HIDDEN * RATE / LINK - 24 * HIDDEN**2) / (2 * HIDDEN) - 1
    assert by_hand < 256
    assert found.host.hides_from[INPUTS] == 256


def test_the_host_is_full_by_hand(small: Question) -> None:
    found = crossovers(small)
    token_bytes = 2 * (32 * HIDDEN + 16 + HIDDEN / 32)
    assert found.host.capacity_bytes == 2e12
    full = 2e12 / token_bytes
    assert full > 1 << 18
    assert found.host.full_from[ALL] is None
    wider = crossovers(replace(small, context_range=(1 << 20, 1 << 24)))
    assert wider.host.full_from[ALL] == pytest.approx(full, rel=1e-6)


def test_drives_by_hand(small: Question) -> None:
    """Twice the bytes in three times the forward pass, but for attention's five products against two."""
    point = crossovers(small).drive.by_batch[0]  # type: ignore[union-attr]
    tokens = 4096
    kept = tokens * (32 * HIDDEN + 16 + HIDDEN / 32)
    seconds = (72 * tokens * HIDDEN**2 + 3.5 * 2 * tokens * (tokens + 1) * HIDDEN) / RATE
    assert point.needed_bytes_per_s() == pytest.approx(2 * kept / seconds, rel=0.01)


def test_years_by_hand(small: Question) -> None:
    """All of 4,096 tokens would need more than 20 GB/s: the drives' 20 GB/s, half of it writes, are what is written."""
    drive = crossovers(replace(small, drive_writes_bytes=1e18)).drive
    assert drive is not None
    assert drive.write_bytes_per_s == pytest.approx(LINK)
    assert drive.years(drive.by_batch[0]) == pytest.approx(1e18 / 10e9 / 31_557_600)


def test_faster_links_hide_from_smaller_contexts_and_faster_devices_from_larger(small: Question) -> None:
    found = crossovers(small).host
    contexts = [context or 1 << 40 for _, context in found.by_link[ALL]]
    assert contexts == sorted(contexts, reverse=True)
    assert contexts[0] > contexts[-1]
    slow, fast = found.hides_from[ALL], crossovers(question(products_only(1.1 * RATE))).host.hides_from[ALL]
    assert slow is not None
    assert fast is not None
    assert fast > slow
    quick = crossovers(question(products_only(link=2 * LINK))).host.hides_from[ALL]
    assert quick is not None
    assert quick < slow


def test_wider_models_need_less_and_batches_no_more(small: Question) -> None:
    drive = crossovers(small).drive
    assert drive is not None
    widths = [point.hidden for point in drive.by_width[1]]
    assert widths == [512, 1024, 2048, 4096, 8192]
    needed = [point.needed_bytes_per_s() for point in drive.by_width[1]]
    assert needed == sorted(needed, reverse=True)
    assert drive.by_batch[1].needed_bytes_per_s() == pytest.approx(drive.by_batch[0].needed_bytes_per_s(), rel=1e-6)


def test_devices_share_parameters_and_host() -> None:
    llama = model("llama-2-7b")
    system = override(load_system("a100-80gb-sxm"), ("devices=8",))
    found = crossovers(Question(llama, system, (4096, 8192), 4096, (1,)))
    assert found.update.parameters == parameters(llama).total / 8
    assert found.host.capacity_bytes == 2e12 / 8
    assert found.update.times.rates.host_bytes_per_s == pytest.approx(409.6e9 / 8)
    # Every way's share of a step is what was asked, to the sequence.
    for name, seconds in (("host", found.update.times.host_s), ("streamed", found.update.times.streamed_s)):
        count = found.update.sequences[name]
        assert seconds <= 0.05 * (seconds + count * found.update.pass_s)
        assert seconds > 0.05 * (seconds + (count - 1) * found.update.pass_s)


def test_without_drives_there_is_no_answer_for_them() -> None:
    found = crossovers(Question(model("llama-3.2-1b"), load_system("sn40l-node"), (1024, 2048), 1024, (1,)))
    assert found.drive is None


@pytest.mark.parametrize(
    "changes", [{"context_range": (2, 1)}, {"batches": ()}, {"batches": (0,)}, {"context": 0}, {"share": 1.0}]
)
def test_questions_that_are_none(small: Question, changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(small, **changes)  # type: ignore[arg-type]


def test_wider_models() -> None:
    llama = model("llama-3-70b")
    double = at_width(llama, 2 * llama.hidden)
    assert double.blocks[0].attention.heads == 128
    assert double.blocks[0].attention.kv_heads == 16
    assert double.blocks[0].feed_forward.intermediate == 2 * 28_672  # type: ignore[union-attr]
    # Norms and the vocabulary double, every matrix of a layer takes four times as much.
    small, large = parameters(llama), parameters(double)
    assert large.feed_forward == 4 * small.feed_forward
    assert large.attention == 4 * small.attention
    assert large.embedding == 2 * small.embedding
    assert at_width(llama, llama.hidden) is llama
    with pytest.raises(InputError, match="heads"):
        at_width(llama, 100)
    with pytest.raises(InputError, match="scale"):
        at_width(model("deepseek-v3"), 14_336)
