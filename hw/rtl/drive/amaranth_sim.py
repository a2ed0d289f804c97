"""Jobs run in Amaranth's own simulator, which needs nothing but Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amaranth import ClockDomain, Module
from amaranth.sim import Simulator

from hw.rtl.drive.job import Neighbours, Packed, Trace

__all__ = ["run_in_amaranth"]


def run_in_amaranth(
    component: Any, inputs: Sequence[str], outputs: Sequence[str], jobs: Sequence[Packed], waves: Path | None = None
) -> list[Trace]:
    """The traces of ``jobs``, one after another with a reset between them; waves go to the VCD file ``waves``."""
    top = Module()
    top.domains.sync = domain = ClockDomain()
    top.submodules.unit = component
    ins = {name: getattr(component, name) for name in inputs}
    outs = {name: getattr(component, name) for name in outputs}
    payload_in = {name: port.payload.as_value() for name, port in ins.items()}
    payload_out = {name: port.payload.as_value() for name, port in outs.items()}
    traces = []

    async def bench(ctx: Any) -> None:
        for job in jobs:
            for port in ins.values():
                ctx.set(port.valid, 0)
            ctx.set(domain.rst, 1)
            await ctx.tick()
            ctx.set(domain.rst, 0)
            around = Neighbours(job)
            driven: dict[str, int | None] = dict.fromkeys(ins)
            while not around.done:
                for name, number in around.offered().items():
                    if number != driven[name]:
                        ctx.set(ins[name].valid, number is not None)
                        if number is not None:
                            ctx.set(payload_in[name], job.words[name][number])
                        driven[name] = number
                willing = around.willing()
                for name, port in outs.items():
                    ctx.set(port.ready, willing[name])
                ctx.set(domain.rst, around.resets)
                ready = {name: bool(ctx.get(port.ready)) for name, port in ins.items()}
                valid = {name: bool(ctx.get(port.valid)) for name, port in outs.items()}
                payload = {name: ctx.get(payload_out[name]) for name in outs if valid[name]}
                around.seen(willing, ready, valid, payload)
                await ctx.tick()
            traces.append(around.trace)

    simulator = Simulator(top)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    if waves is None:
        simulator.run()
    else:
        with simulator.write_vcd(str(waves)):
            simulator.run()
    return traces
