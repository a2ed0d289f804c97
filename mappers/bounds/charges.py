"""What each Einsum must move through the root at least once, and which intermediates cannot stay on chip.

**Compulsory traffic.** Inputs begin in the root and results end there: every element that is touched is read, or
written, once. An intermediate that may stay on chip moves nothing. One that goes through the root is written once and
read once by each Einsum that uses it, as no store below the root outlives its Einsum then.

**Passes.** Let Einsum a read an intermediate T and sum it over a rank r into G, and let Einsum b read T and, directly
or through others, G. All of a fiber of T along r is visited before b can begin with it, so a T that stays on chip has
whole fibers there: no loop over r may stand above both. Where a fiber is larger than the level that could hold it, T
goes through the root: written once, and read by b once more. (FuseMax, MICRO 2024, section 3, calls this another pass.)
An Einsum has one place in a nest, so T is not made a second time for b either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mappers.bounds.machine import Machine
from mappers.bounds.touched import touched
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse

__all__ = ["Charge", "Charges", "root_charges"]


@dataclass(frozen=True, slots=True)
class Charge:
    """Bits of a tensor that one Einsum reads from and writes to the root at least."""

    tensor: str
    read_bits: float
    write_bits: float
    why: str

    @property
    def bits(self) -> float:
        """Both directions."""
        return self.read_bits + self.write_bits


@dataclass(frozen=True)
class Charges:
    """Compulsory root traffic: by Einsum, and for the cascade by tensor, where shared inputs count once.

    ``shared`` names tensors whose traffic several Einsums may have in common; ``spilled`` the intermediates that do not
    fit between their passes.
    """

    einsums: tuple[dict[str, Charge], ...]
    cascade: tuple[Charge, ...]
    shared: frozenset[str]
    spilled: frozenset[str]


def root_charges(problem: CascadeProblem, machine: Machine) -> Charges:
    """The compulsory traffic of every Einsum and of the cascade."""
    spilled = frozenset(name for name in problem.intermediates if _spilled_reader(problem, name, machine) is not None)
    fused = machine.constraints.fuse
    shared: set[str] = set()
    if fused:
        for name in {use.tensor for einsum in problem.einsums for use in einsum.uses}:
            writers = sum(einsum.output.tensor == name for einsum in problem.einsums)
            if writers > 1 or len(problem.consumers(name)) > 1:
                shared.add(name)
    rows: list[dict[str, Charge]] = []
    for place, einsum in enumerate(problem.einsums):
        row: dict[str, Charge] = {}
        for use in einsum.uses:
            charge = _charge(problem, place, einsum, use, machine, spilled)
            if charge is not None:
                row[use.tensor] = charge
        rows.append(row)
    return Charges(tuple(rows), _together(rows, shared), frozenset(shared), spilled)


def _charge(
    problem: CascadeProblem,
    place: int,
    einsum: EinsumProblem,
    use: TensorUse,
    machine: Machine,
    spilled: frozenset[str],
) -> Charge | None:
    bits = float(touched(use, einsum.size) * use.bits)
    made = problem.producer(use.tensor) is not None
    forced = use.intermediate and machine.through_root(use.tensor)
    if use.role == "output":
        if not use.intermediate:
            return Charge(use.tensor, 0.0, bits, "result, written once")
        if forced:
            return Charge(use.tensor, 0.0, bits, "intermediate, kept in the root by request")
        if use.tensor in spilled:
            return Charge(use.tensor, 0.0, bits, "intermediate, too large to wait on chip for its second pass")
        return None
    if not made:
        return Charge(use.tensor, bits, 0.0, "input, read once")
    if forced or (not use.intermediate and not machine.constraints.fuse):
        return Charge(use.tensor, bits, 0.0, "made before, read again from the root")
    if use.tensor in spilled and place == _spilled_reader(problem, use.tensor, machine):
        return Charge(use.tensor, bits, 0.0, "intermediate, read again in its second pass")
    return None


def _together(rows: list[dict[str, Charge]], shared: set[str]) -> tuple[Charge, ...]:
    """Sums by tensor; a shared tensor counts the largest read and the largest write."""
    found: dict[str, Charge] = {}
    for row in rows:
        for name, charge in row.items():
            old = found.get(name)
            if old is None:
                found[name] = charge
            elif name in shared:
                read, write = max(old.read_bits, charge.read_bits), max(old.write_bits, charge.write_bits)
                found[name] = Charge(name, read, write, old.why)
            else:
                why = old.why if old.why == charge.why else f"{old.why}; {charge.why}"
                found[name] = Charge(name, old.read_bits + charge.read_bits, old.write_bits + charge.write_bits, why)
    return tuple(found.values())


def _spilled_reader(problem: CascadeProblem, tensor: str, machine: Machine) -> int | None:
    """Place of the Einsum that must read an intermediate again from the root; None where it may stay on chip."""
    if machine.through_root(tensor):
        return None
    for first in problem.consumers(tensor):
        einsum = problem.einsums[first]
        use = einsum.by_tensor[tensor]
        held = machine.largest_store_bits(use)
        if math.isinf(held):
            continue
        summed = frozenset(einsum.ranks) - einsum.output.ranks
        # tensor -> ranks that no loop around both its making and the first Einsum may walk
        waiting = {einsum.output.tensor: summed}
        for place in range(first + 1, len(problem.einsums)):
            later = problem.einsums[place]
            inherited = [waiting[other.tensor] for other in later.operands if other.tensor in waiting]
            if not inherited:
                waiting.pop(later.output.tensor, None)  # written anew
                continue
            whole = frozenset().union(*inherited)
            if tensor in later.by_tensor and later.output.tensor != tensor and whole & use.ranks:
                fiber = touched(use, {rank: size if rank in whole else 1 for rank, size in einsum.sizes})
                if fiber * use.bits > held:
                    return place
            waiting[later.output.tensor] = whole | (frozenset(later.ranks) - later.output.ranks)
    return None
