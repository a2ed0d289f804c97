"""Matrix products of a GPU by constants of other GPUs: what to expect of one that nobody has measured.

The constants are shares of data-sheet rates and seconds per call, fitted to the other GPUs' rows of all software in
16-bit formats together; units, clock, rates and bandwidths are the data sheet's of the GPU itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from dse.validation.calibration import fitted_constants, mape
from dse.validation.kernel_rows import KernelRows
from dse.validation.machines import Skipped, measured_system, preset_of
from dse.validation.measurements import Measurement
from mappers.kernels.software import SOFTWARE, measured_software
from workloads.errors import InputError

__all__ = ["carried_products"]


def carried_products(rows: Sequence[Measurement]) -> dict[str, tuple[int, float]]:
    """Rows and mean absolute error of the products of each GPU by constants of all others; needs two GPUs or more.

    Left out are rows in formats of one byte, measured on one GPU only, and AMD's, whose kernels are of another library.
    Rows called eagerly take no part in the fits: their overhead is the host's.
    """
    gathered: dict[tuple[str, str, str], list[Measurement]] = {}
    for row in rows:
        if row.op == "gemm" and row.dtype != "fp8" and not isinstance(preset_of(row.gpu), Skipped):
            gathered.setdefault((row.gpu, row.framework, row.dtype), []).append(row)
    groups: dict[str, list[KernelRows]] = {}
    for (gpu, framework, _), members in gathered.items():
        system = measured_system(gpu, 1)
        architecture = next((engine.architecture for engine in system.engines.values() if engine.architecture), "")
        try:
            group = KernelRows.of(members, system, measured_software(framework, architecture)[0])
        except InputError:
            continue
        if not architecture.startswith("cdna"):
            groups.setdefault(gpu, []).append(group)
    found = {}
    for gpu, mine in groups.items():
        others = [
            group
            for other, theirs in groups.items()
            for group in theirs
            if other != gpu and SOFTWARE[group.software].launch == "graph"
        ]
        if others:
            found[gpu] = (sum(len(group.rows) for group in mine), mape(mine, fitted_constants(others)))
    return found
