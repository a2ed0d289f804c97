"""MEMO's share of tokens to swap (arXiv 2407.12117, section 4.1): one variable, two constraints.

The layer input and attention's output always go to the host whole; of every other skeletal tensor the share alpha of
the tokens goes, and the rest is computed again before the layer's backward pass. The last two layers stay.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Alpha", "AlphaProblem", "best_alpha", "best_alpha_by_lp"]


@dataclass(frozen=True)
class AlphaProblem:
    """Bytes of one layer on one device; the link's rate; one layer's forward time; the host's bytes for one device."""

    input_bytes: float
    attention_bytes: float
    other_bytes: float
    link_bytes_per_s: float
    layer_s: float
    layers: int
    host_bytes: float

    @property
    def swapped_layers(self) -> int:
        return max(0, self.layers - 2)

    def swapped_bytes(self, alpha: float) -> float:
        """What one layer sends to the host."""
        return self.input_bytes + self.attention_bytes + alpha * self.other_bytes


@dataclass(frozen=True)
class Alpha:
    """``alpha``, or None where even alpha 0 breaks a constraint; ``bound`` is the constraint that holds it back.

    ``bound`` is "time", "host memory" or "nothing" (alpha is 1). ``missing_bytes`` of host memory and
    ``missing_bytes_per_s`` of the link are what alpha 0 lacks.
    """

    alpha: float | None
    bound: str
    missing_bytes: float = 0.0
    missing_bytes_per_s: float = 0.0


def best_alpha(problem: AlphaProblem) -> Alpha:
    """The largest alpha, from the two constraints solved for it."""
    always = problem.input_bytes + problem.attention_bytes
    in_time = (problem.layer_s * problem.link_bytes_per_s - always) / problem.other_bytes
    fitting = float("inf")
    if problem.swapped_layers:
        fitting = (problem.host_bytes / problem.swapped_layers - always) / problem.other_bytes
    alpha = min(1.0, in_time, fitting)
    bound = "nothing" if alpha == 1.0 else "time" if in_time <= fitting else "host memory"
    if alpha >= 0:
        return Alpha(alpha, bound)
    missing = max(0.0, problem.swapped_layers * always - problem.host_bytes)
    return Alpha(None, bound, missing, max(0.0, always / problem.layer_s - problem.link_bytes_per_s))


def best_alpha_by_lp(problem: AlphaProblem) -> float | None:
    """The same as a linear program, word for word; None where it has no point."""
    import pulp

    model = pulp.LpProblem("alpha", pulp.LpMaximize)
    alpha = model.add_variable("alpha", 0, 1)
    model += alpha
    always = problem.input_bytes + problem.attention_bytes
    # Both rows divided by their right-hand side: the solver's tolerances are absolute.
    in_time = problem.link_bytes_per_s * problem.layer_s
    model += (always / in_time) + (problem.other_bytes / in_time) * alpha <= 1
    share = problem.swapped_layers / problem.host_bytes
    model += share * always + share * problem.other_bytes * alpha <= 1
    solver = pulp.HiGHS(msg=False) if pulp.HiGHS().available() else pulp.PULP_CBC_CMD(msg=False)
    model.solve(solver)
    return float(alpha.value()) if model.sol_status == pulp.LpSolutionOptimal else None
