"""The interpreter against a slow twin that computes one element at a time, and its rules one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from workloads.einsum import Cascade, infer_sizes, parse_cascade, run_cascade
from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Index, Number, Size
from workloads.einsum.ir import Einsum
from workloads.errors import InputError

Array = NDArray[np.float64]

MAPS: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "max": np.maximum, "exp": np.exp,
    "div": lambda a, b: np.float64(a) / b, "neg": lambda a: -a, "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "lt": lambda a, b: float(a < b),
    "gt": lambda a, b: float(a > b), "ge": lambda a, b: float(a >= b), "ne": lambda a, b: float(a != b),
    "select": lambda c, a, b: a if c else b,
}  # fmt: skip
FOLDS: dict[str, tuple[float, Callable[..., float]]] = {
    "add": (0.0, MAPS["add"]), "mul": (1.0, MAPS["mul"]), "max": (-math.inf, np.maximum), "min": (math.inf, np.minimum),
}  # fmt: skip


class AbsentPoint(Exception):
    """The point does not exist."""


class Twin:
    """Every element by recursion from its definition: no order of execution, no vectors."""

    def __init__(self, cascade: Cascade, inputs: dict[str, Array], sizes: dict[str, float]) -> None:
        self.cascade, self.inputs = cascade, inputs
        self.sizes = infer_sizes(cascade, inputs, sizes)
        self.memo: dict[tuple[str, tuple[int, ...]], float] = {}
        self.operators = {operator.name: operator for operator in cascade.operators}

    def tensor(self, name: str) -> Array:
        shape = [int((self.sizes[d.rank] if d.rank else 0) + d.extra) for d in self.cascade.tensors[name].dims]
        result = np.zeros(shape)
        for place in np.ndindex(*shape):
            result[place] = self.element(name, place)
        return result

    def element(self, name: str, place: tuple[int, ...]) -> float:
        if name in self.inputs:
            shape = self.inputs[name].shape
            if any(not 0 <= p < size for p, size in zip(place, shape, strict=True)):
                raise AbsentPoint
            return float(self.inputs[name][place])
        shape = tuple(int((self.sizes[d.rank] if d.rank else 0) + d.extra) for d in self.cascade.tensors[name].dims)
        if any(not 0 <= p < size for p, size in zip(place, shape, strict=True)):
            raise AbsentPoint
        key = (name, place)
        if key not in self.memo:
            writers = self.cascade.writers(name)
            point, writer = next(
                ((point, e) for e in writers if (point := self.solve(e, place)) is not None), (None, writers[0])
            )
            self.memo[key] = self.fill(writer) if point is None else self.fold(writer, point)
        return self.memo[key]

    def solve(self, einsum: Einsum, place: tuple[int, ...]) -> dict[str, int] | None:
        """The kept coordinates for which the Einsum writes this element."""
        point: dict[str, int] = {}
        for index, coordinate in zip(einsum.output.indices, place, strict=True):
            offset = sum(
                int(t.coefficient * math.prod(self.value(f, {}) for f in t.factors))
                for t in index.terms
                if t.base is None
            )
            names = [str(t.base) for t in index.terms if t.base is not None]
            if not names and offset != coordinate:
                return None
            for name in names:
                if not 0 <= coordinate - offset < self.sizes[name]:
                    return None
                point[name] = coordinate - offset
        return point

    def fill(self, einsum: Einsum) -> float:
        if einsum.fill is not None:
            return self.value(einsum.fill, {})
        if einsum.reduction is None:
            return 0.0
        return -math.inf if einsum.reduction.operator == "top" else FOLDS[einsum.reduction.operator][0]

    def fold(self, einsum: Einsum, point: dict[str, int]) -> float:
        values = []
        for extra in itertools.product(*(range(int(self.sizes[rank])) for rank in einsum.reduced_ranks)):
            here = point | dict(zip(einsum.reduced_ranks, extra, strict=True))
            try:
                if self.cut(einsum, here):
                    continue
                if einsum.condition is None or self.value(einsum.condition, here) != 0:
                    values.append(self.value(einsum.expression, here))
            except AbsentPoint:
                continue
        if not values:
            return self.fill(einsum)
        if einsum.reduction is None:
            return values[0]
        fold = np.maximum if einsum.reduction.operator == "top" else FOLDS[einsum.reduction.operator][1]
        total = values[0]
        for value in values[1:]:
            total = fold(total, value)
        return float(total)

    def cut(self, einsum: Einsum, here: dict[str, int]) -> bool:
        pairs = [s for s in self.cascade.splits if s.outer in einsum.ranks and s.inner in einsum.ranks]
        return any(here[s.outer] * self.sizes[s.inner] + here[s.inner] >= self.sizes[s.rank] for s in pairs)

    def index(self, index: Index, here: dict[str, int]) -> int:
        total = 0.0
        for term in index.terms:
            part = float(term.coefficient) * math.prod(self.value(f, here) for f in term.factors)
            if isinstance(term.base, str):
                part *= here[term.base]
            elif term.base is not None:
                part *= self.value(term.base, here)
            total += part
        return int(total)

    def value(self, expression: Expression, here: dict[str, int] | dict[str, float]) -> float:
        match expression:
            case Number(value):
                return value
            case Size(rank):
                return self.sizes[rank]
            case Coordinate(rank):
                return here[rank]
            case Constant(name):
                return (
                    float(np.finfo(float).min) if name == "lowest" else here.get(name, self.sizes.get(name, math.nan))
                )
            case Access(tensor, indices):
                return self.element(tensor, tuple(self.index(index, here) for index in indices))  # type: ignore[arg-type]
            case Call(operator, arguments):
                values = [self.value(argument, here) for argument in arguments]
                if operator in self.operators:
                    definition = self.operators[operator]
                    return self.value(definition.body, dict(zip(definition.parameters, values, strict=True)))
                return float(MAPS[operator](*values))


def test_random_cascades_agree_with_the_twin(random_cascade: Callable[[int], str]) -> None:
    rng = np.random.default_rng(0)
    for seed in range(250):
        cascade = parse_cascade(random_cascade(seed))
        m, n, k, k0 = (int(x) for x in rng.integers(1, 5, size=4))
        inputs = {"X": rng.normal(size=(m, n)), "Y": rng.normal(size=n), "K": rng.normal(size=k),
                  "I": rng.integers(0, n, size=m).astype(float), "P": np.round(rng.normal(size=(m, n)), 1)}  # fmt: skip
        inputs["P"] = inputs["P"].astype(np.float16).astype(float)
        inputs = {name: inputs[name] for name in cascade.inputs}
        sizes = {"m": m, "n": n, "k": k, "k0": k0, "r": 1}
        twin = Twin(cascade, inputs, sizes)
        with np.errstate(all="ignore"):
            found = run_cascade(cascade, inputs, sizes, intermediates=True)
            for name in cascade.tensors:
                if name not in inputs:
                    np.testing.assert_allclose(
                        found[name], twin.tensor(name), rtol=1e-9, atol=1e-9, err_msg=f"{seed} {name}"
                    )


def run(text: str, inputs: dict[str, object], **sizes: float) -> dict[str, Array]:
    return run_cascade(parse_cascade("cascade c\n" + text), inputs, sizes)  # type: ignore[arg-type]


def test_points_outside_a_tensor_do_not_exist() -> None:
    found = run(
        "rank r\ninput X[m]\noutput S, T\nS[m] = X[m + r] :: add(r)\nT[m] = X[m - 1] else 7", {"X": [1, 2, 4]}, r=2
    )
    np.testing.assert_array_equal(found["S"], [3, 6, 4])
    np.testing.assert_array_equal(found["T"], [7, 1, 2])


def test_masked_elements_hold_the_fill() -> None:
    text = (
        "input X[m]\noutput A, B, C\nA[m] = X[m] where m > 0\nB[] = X[m] :: max(m) where m > 5\n"
        "C[] = X[m] :: min(m) where m > 5 else 9"
    )
    found = run(text, {"X": [1, 2]})
    np.testing.assert_array_equal(found["A"], [0, 2])
    assert found["B"] == -math.inf
    assert found["C"] == 9


def test_selections() -> None:
    text = ("rank k\ninput X[t, m]\noutput I, V, A, B\nI[t, k] = X[t, m] :: argtopk(m -> k)\n"
     "V[k, t] = X[t, m] :: topk(m -> k)\n"
            "A[t] = X[t, m] :: argmax(m)\nB[t] = X[t, m] :: argmin(m) where m > 0")  # fmt: skip
    found = run(text, {"X": [[1, 5, 5], [0, -2, 3]]}, k=2)
    np.testing.assert_array_equal(found["I"], [[1, 2], [2, 0]])
    np.testing.assert_array_equal(found["V"], [[5, 3], [5, 0]])
    np.testing.assert_array_equal(found["A"], [1, 2])
    np.testing.assert_array_equal(found["B"], [1, 1])


def test_more_chosen_than_there_are() -> None:
    text = "rank k\ninput X[m]\noutput V\nV[k] = X[m] :: topk(m -> k) where m > 0 else -9"
    np.testing.assert_array_equal(run(text, {"X": [8, 5, 6]}, k=4)["V"], [6, 5, -9, -9])


def test_scatter_adds_where_places_meet() -> None:
    text = "rank v\ninput T[t], X[t, d]\noutput E[v, d]\nE[T[t], d] = X[t, d] :: add(t)"
    found = run(text, {"T": [2, 0, 2, 9], "X": [[1, 2], [3, 4], [5, 6], [7, 8]]}, v=3)
    np.testing.assert_array_equal(found["E"], [[3, 4], [0, 0], [6, 8]])


def test_user_defined_reduction_keeps_the_order() -> None:
    text = "reduce second(a, b) = b from 0\ninput X[t, m]\noutput Y\nY[t] = X[t, m] :: second(m)"
    np.testing.assert_array_equal(run(text, {"X": [[1, 2, 3], [4, 5, 6]]})["Y"], [3, 6])


def test_states_that_fall_and_states_in_two_ranks() -> None:
    text = "input X[m]\noutput R\nR[|m|] = 0\nR[m] = R[m + 1] + X[m]"
    np.testing.assert_array_equal(run(text, {"X": [1, 2, 3]})["R"], [6, 5, 3, 0])
    # Longest common subsequence of ABCBDAB and BDCABA has length 4.
    words = [[ord(letter) for letter in word] for word in ("ABCBDAB", "BDCABA")]
    text = (
        "input X[i], Y[j]\noutput L\nL[i + 1, j + 1] = select(X[i] == Y[j], L[i, j] + 1, max(L[i, j + 1], L[i + 1, j]))"
    )
    assert run(text, {"X": words[0], "Y": words[1]})["L"][-1, -1] == 4


def test_declared_and_given_formats_round() -> None:
    text = "input X[m] format bfloat16\noutput Y\nY[m] = X[m] * 1"
    assert run(text, {"X": [1 + 2**-8, 1 + 3 * 2**-8, 3.0]})["Y"].tolist() == [1.0, 1 + 2**-6, 3.0]
    cascade = parse_cascade("cascade c\ninput X[m]\noutput Y\nY[m] = X[m] * 1\n")
    values = np.array([1 / 3, 70000.0, 6e-8, -0.0])
    found = run_cascade(cascade, {"X": values}, formats={"Y": "float16"})["Y"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, values.astype(np.float16).astype(float))


def test_float32_and_float16_equal_numpys() -> None:
    cascade = parse_cascade("cascade c\ninput X[m]\noutput Y\nY[m] = X[m] * 1\n")
    rng = np.random.default_rng(3)
    values = rng.normal(size=4000) * 10.0 ** rng.integers(-46, 40, size=4000)
    for name, dtype in (("float32", np.float32), ("float16", np.float16)):
        with np.errstate(over="ignore"):
            expected = values.astype(dtype).astype(float)
        np.testing.assert_array_equal(run_cascade(cascade, {"X": values}, formats={"Y": name})["Y"], expected)


def test_fp8_corner_values() -> None:
    """Largest and least values of the OCP 8-bit formats; E4M3 saturates."""
    cascade = parse_cascade("cascade c\ninput X[m]\noutput Y\nY[m] = X[m] * 1\n")
    values = np.array([448.0, 500.0, 2.0**-9, 2.0**-10, 17.0, -1e9])
    found = run_cascade(cascade, {"X": values}, formats={"Y": "float8_e4m3"})["Y"]
    np.testing.assert_array_equal(found, [448, 448, 2.0**-9, 0, 16, -448])
    found = run_cascade(cascade, {"X": values}, formats={"Y": "float8_e5m2"})["Y"]
    np.testing.assert_array_equal(found, [448, 512, 2.0**-9, 2.0**-10, 16, -math.inf])


@pytest.mark.parametrize(
    ("inputs", "sizes", "message"),
    [
        ({"A": np.zeros((2, 3))}, {}, "input 'B' is missing"),
        ({"A": np.zeros(2), "B": np.zeros((3, 2))}, {}, "an array of 1 axes; expected 2 (m, k)"),
        ({"A": np.zeros((2, 3)), "B": np.zeros((4, 2))}, {}, "rank 'k' has size 4 here and 3 elsewhere"),
        ({"A": np.zeros((2, 3)), "B": np.zeros((3, 2)), "C": np.zeros(1)}, {}, "unknown input 'C'"),
        ({"A": np.zeros((2, 3)), "B": np.zeros((3, 2))}, {"q": 1}, "unknown rank or constant 'q'"),
    ],
)
def test_inputs_that_do_not_fit(inputs: dict[str, Array], sizes: dict[str, float], message: str) -> None:
    cascade = parse_cascade("cascade c\ninput A[m, k], B[k, n]\noutput Z\nZ[m, n] = A[m, k] * B[k, n]\n")
    with pytest.raises(InputError) as caught:
        run_cascade(cascade, inputs, sizes)
    assert message in str(caught.value)


def test_empty_ranks() -> None:
    text = "input X[m]\noutput S, M, Y\nS[] = X[m]\nM[] = X[m] :: max(m)\nY[m] = X[m] * S[]"
    found = run(text, {"X": np.zeros(0)})
    assert (found["S"], found["M"], found["Y"].shape) == (0, -math.inf, (0,))
