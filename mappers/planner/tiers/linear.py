"""A linear or mixed-integer program as rows and columns, solved by HiGHS.

HiGHS is called directly rather than through a modelling layer, which gives neither the proven bound of a search that
ran out of time nor a first solution to start from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LinearProgram", "Solution"]

_LOOK_S = 0.05  # how often it is asked whether to stop


@dataclass(frozen=True)
class Solution:
    """``values`` by variable, their objective ``value``, and the ``bound`` below every solution.

    ``optimal``: the solver ended by itself.
    """

    values: Sequence[float]
    value: float
    bound: float
    optimal: bool


@dataclass
class LinearProgram:
    """Minimise cost . x over lower <= x <= upper and low <= rows . x <= high. `variable` returns a column's number."""

    costs: list[float] = field(default_factory=list)
    lowers: list[float] = field(default_factory=list)
    uppers: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    columns: list[int] = field(default_factory=list)
    entries: list[float] = field(default_factory=list)
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    proved_empty: bool = False
    bound: float = float("-inf")

    def variable(
        self, low: float = 0.0, high: float = float("inf"), *, cost: float = 0.0, integer: bool = False
    ) -> int:
        """A new column."""
        self.costs.append(cost)
        self.lowers.append(low)
        self.uppers.append(high)
        if integer:
            self.whole.append(len(self.costs) - 1)
        return len(self.costs) - 1

    def row(self, terms: Mapping[int, float], *, low: float = float("-inf"), high: float = float("inf")) -> None:
        """A new row; terms of 0 are left out."""
        for column, entry in terms.items():
            if entry:
                self.columns.append(column)
                self.entries.append(entry)
        self.starts.append(len(self.columns))
        self.lows.append(low)
        self.highs.append(high)

    def solve(
        self,
        *,
        time_limit_s: float = 60.0,
        relaxed: bool = False,
        start: Sequence[float] | None = None,
        gap: float = 0.0,
        should_stop: Callable[[], bool] | None = None,
    ) -> Solution | None:
        """The best solution found; None when there is none, or none was found in time: see `proved_empty`.

        ``relaxed`` lets whole numbers be fractions; ``start`` is a solution to begin with; at a relative ``gap`` to its
        bound the solver may end, and soon after ``should_stop`` says so it ends with the best so far. Afterwards
        ``bound`` is below every solution even when none was found.
        """
        import highspy
        import numpy as np

        make: Any = highspy.Highs
        solver = make()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("threads", 1)
        solver.setOptionValue("time_limit", float(time_limit_s))
        solver.setOptionValue("mip_rel_gap", gap)
        solver.setOptionValue("mip_abs_gap", 0.0)
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(self.costs), len(self.lows)
        model.col_cost_ = np.array(self.costs)
        model.col_lower_, model.col_upper_ = np.array(self.lowers), np.array(self.uppers)
        model.row_lower_, model.row_upper_ = np.array(self.lows), np.array(self.highs)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.array(self.starts, dtype=np.int32)
        model.a_matrix_.index_ = np.array(self.columns, dtype=np.int32)
        model.a_matrix_.value_ = np.array(self.entries)
        if self.whole and not relaxed:
            kinds = [highspy.HighsVarType.kContinuous] * len(self.costs)
            for column in self.whole:
                kinds[column] = highspy.HighsVarType.kInteger
            model.integrality_ = kinds
        solver.passModel(model)
        if start is not None:
            first = highspy.HighsSolution()
            first.col_value = list(start)
            solver.setSolution(first)
        if should_stop is None:
            solver.run()
        else:
            _run_until(solver, should_stop)
        status, info = solver.getModelStatus(), solver.getInfo()
        optimal = status == highspy.HighsModelStatus.kOptimal
        self.proved_empty = status == highspy.HighsModelStatus.kInfeasible
        mixed = bool(self.whole) and not relaxed
        self.bound = info.mip_dual_bound if mixed else (info.objective_function_value if optimal else float("-inf"))
        if info.primal_solution_status != 2:  # 2: kSolutionStatusFeasible
            return None
        value = info.objective_function_value
        bound = min(value, self.bound)
        return Solution(solver.getSolution().col_value, value, bound, optimal)


def _run_until(solver: Any, should_stop: Callable[[], bool]) -> None:
    """Run in a thread of its own: a signal's handler runs in this one, which the solver would keep until its end."""
    solver.HandleUserInterrupt = True
    running = threading.Thread(target=solver.run, daemon=True)
    running.start()
    while running.is_alive():
        running.join(_LOOK_S)
        if running.is_alive() and should_stop():
            solver.cancelSolve()
            running.join()
