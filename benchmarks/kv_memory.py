"""How fast KV memories answer, and how fast hit rates of prefixes are found.

Run with ``uv run python benchmarks/kv_memory.py [TRACE]``. An extension asks for one more block of 16 tokens, or for a
token that has room already, on Llama-3.1-8B; TRACE is a request trace whose prompts' prefixes are known.
"""

from __future__ import annotations

import sys
import time

from hw.spec.load import load_system
from simulator.serving.kv.choice import kv_memory
from simulator.serving.kv.prefix_hits import prefix_hits_of
from simulator.serving.kv.sizes import kv_sizes
from workloads.models import model
from workloads.traces.readers import read_requests

KINDS = ("paged", "contiguous", "pages:64KiB", "prefix", "paged+ddr", "paged+ddr:spill")
SEQUENCES, LONGEST = 100, 4096


def extend_us(kind: str, step: int) -> float:
    """Microseconds of an extension by ``step`` tokens."""
    memory = kv_memory(kind, kv_sizes(model("Llama-3.1-8B")), load_system("h100-sxm"), 80e9)
    for sequence in range(SEQUENCES):
        memory.admit(sequence, 100, LONGEST)
    asks = [(sequence, tokens) for tokens in range(101, LONGEST, step) for sequence in range(SEQUENCES)]
    begin = time.process_time()
    for sequence, tokens in asks:
        memory.extend(sequence, tokens)
    return (time.process_time() - begin) / len(asks) * 1e6


def main() -> None:
    """Print a line for each memory, then the trace's hit rates and the time they took."""
    for kind in KINDS:
        print(f"{kind:16} {extend_us(kind, 16):6.2f} us by a block {extend_us(kind, 1):6.2f} us by a token")
    for path in sys.argv[1:]:
        trace = read_requests(path)
        for turn in ("first", "again"):
            begin = time.perf_counter()
            hits = prefix_hits_of(trace)
            print(f"{hits.blocks:,} blocks, every capacity: {time.perf_counter() - begin:.2f} s ({turn})")
        for capacity in (1_000, 3_000, 10_000, 30_000, 50_000, 100_000, float("inf")):
            print(f"{capacity:9,.0f} blocks: {hits.rate(capacity):.4f}")


if __name__ == "__main__":
    main()
