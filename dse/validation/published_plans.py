"""Models behind the published figures of memory plans: swapped training steps, offloaded decoding, small networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from dse.validation.published import Subject
from hw.spec.load import load_system, override
from mappers.planner.allocation.caching import replay_requests
from mappers.planner.order import published as networks
from mappers.planner.swap import KERNELS, PlannedStep, machine_of, plan_step, setting_of
from mappers.planner.swap.gpt_models import gpt_model
from mappers.planner.swap.step_ops import step_requests
from mappers.planner.tiers.flexgen import FLEXGEN_T4, OPT_30B, BlockPolicy, block_times
from simulator.planned.block import T4_HOST, BlockMachine, run_block

__all__ = ["PLANS"]

_A800 = ("devices=8", "fabric.bandwidth=200 GB/s")  # an A800 is an A100 with 400 GB/s of NVLink, both ways together
_POLICIES = {
    512: BlockPolicy.of(48, 3, (20, 80), (0, 100)),
    256: BlockPolicy.of(160, 2, (10, 90), (0, 100)),
}


@lru_cache
def _step(policy: str, kernels: str, context: int = 1 << 20) -> PlannedStep:
    machine = machine_of(override(load_system("a100-80gb-sxm"), _A800), KERNELS[kernels])
    return plan_step(setting_of(gpt_model("gpt-7b"), machine, context), policy)


def _fragmentation(policy: str) -> float:
    """Share of what a caching allocator reserves that is never asked for at once, in percent, at 512 Ki tokens."""
    machine = machine_of(override(load_system("a100-80gb-sxm"), _A800), KERNELS["attained"])
    setting = setting_of(gpt_model("gpt-7b"), machine, 1 << 19)
    step = plan_step(setting, policy).step
    requests = step_requests(step, with_skeletal=True, resident={"states": setting.state_bytes})
    return 100 * replay_requests(requests).fragmentation


def _mfu(kernels: str) -> Callable[[], float]:
    return lambda: 100 * _step("memo", kernels).mfu


def _decoding(prompt: int) -> Callable[[], float]:
    def rate() -> float:
        return run_block(OPT_30B, _POLICIES[prompt], BlockMachine(FLEXGEN_T4, T4_HOST), prompt=prompt).tokens_per_s

    return rate


def _closed_form(prompt: int) -> Callable[[], float]:
    return lambda: block_times(OPT_30B, _POLICIES[prompt], FLEXGEN_T4, prompt=prompt).tokens_per_s


@lru_cache
def _networks() -> dict[tuple[str, str], float]:
    return {(row.network, row.what): row.ours for row in networks.compare()}


def _network(name: str, what: str) -> Callable[[], float]:
    return lambda: _networks()[name, what]


PLANS = Subject(
    "Accuracy of memory plans",
    """What planners for training, offloading and small networks published, beside the same plan executed here. MEMO ran
on 8 A800, taken as A100 with less NVLink; its kernels are not published, so two sets stand beside it: as attained in
frameworks, and at their published best. FlexGen's rates are those its authors fitted to their own runs, so only the
schedule is checked. Networks are counted tensor by tensor. Errors are ours / theirs - 1.
""",
    {
        "memo mfu attained": _mfu("attained"),
        "memo mfu best": _mfu("best"),
        "memo fragmentation": lambda: _fragmentation("recompute"),
        "flexgen 512": _decoding(512),
        "flexgen 256": _decoding(256),
        "flexgen closed form 512": _closed_form(512),
        "flexgen closed form 256": _closed_form(256),
        **{f"{network} {what}": _network(network, what) for network, what in _networks()},
    },
)
