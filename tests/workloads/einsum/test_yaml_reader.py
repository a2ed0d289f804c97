"""Einsum YAML of other tools, in their two forms."""

from __future__ import annotations

import pytest

from workloads.einsum import compulsory_traffic, operation_counts
from workloads.einsum.yaml_reader import read_einsum_yaml
from workloads.errors import InputError

ATTENTION = """
workload:
  rank_sizes: {B: 2, M: 3, P: 5, H: 7, E: 11, F: 11}
  bits_per_value: {All: 8}
  einsums:
  - {einsum: "I[b, m, h, e] = I_in[b, m, h, e]", is_copy_operation: True}
  - "QK[b, m, p, h] = I[b, m, h, e] * K[b, p, h, e]"
  - einsum: "AV[b, m, h, f] = QK[b, m, p, h] * V[b, p, h, E: f]"
    renames: {input: QK}
"""
DEPTHWISE = """
workload:
  rank_sizes: {P0: 30, Q0: 29, C: 4*2, P1: 28, Q1: 27}
  einsums:
  - name: Depthwise
    tensor_accesses:
    - name: X
      projection:
        P0: p1 + r
        Q0: q1 + s
        C: c
    - {name: W, projection: [r, s, c]}
    - {name: Y, projection: [p1, q1, c], output: True}
    iteration_space_shape: [0 <= r < 3, 0 <= s < 3]
"""
ROW_WISE = """
einsum:
  declaration:
    A: [K, M]
    B: [K, N]
    T: [K, M, N]
    Z: [M, N]
  expressions:
  - T[k, m, n] = take(A[k, m], B[k, n], 1)
  - Z[m, n] = T[k, m, n] * A[k, m]
mapping:
  loop-order: {Z: [M, N, K]}
"""


def test_expressions_with_sizes_and_renamed_projections() -> None:
    cascade = read_einsum_yaml(ATTENTION, file="folder/attention.yaml")
    assert cascade.name == "attention"
    assert cascade.inputs == ("I_in", "K", "V")
    assert cascade.outputs == ("AV",)
    assert cascade.tensors["V"].ranks == ("b", "p", "h", "e")
    assert operation_counts(cascade, {})["AV"] == {"mul": 2 * 3 * 5 * 7 * 11, "add": 2 * 3 * 5 * 7 * 11}
    assert operation_counts(cascade, {"b": 1})["QK"]["mul"] == 3 * 5 * 7 * 11


def test_tensor_accesses_with_windows() -> None:
    cascade = read_einsum_yaml(DEPTHWISE, file="d.yaml")
    assert operation_counts(cascade, {})["Y"]["mul"] == 28 * 27 * 9 * 8
    assert compulsory_traffic(cascade, {}) == {"X": 30 * 29 * 8, "W": 9 * 8, "Y": 28 * 27 * 8}


def test_declarations_and_take() -> None:
    cascade = read_einsum_yaml(ROW_WISE, file="gamma.yaml")
    assert cascade.inputs == ("A", "B")
    assert cascade.tensors["T"].ranks == ("k", "m", "n")
    assert [einsum.is_contraction for einsum in cascade.einsums] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW_WISE.replace("* A[k, m]", "* A[k]"), "b.yaml:10: A has 1 indices"),
        (ROW_WISE.replace("M, N]\n  exp", "M, 3]\n  exp"), "b.yaml:7: einsum.declaration.Z"),
        ("a: 1", "no Einsums; expected a field 'workload' (AccelForge) or 'einsum' (TeAAL)"),
        ("workload: {einsums: 3}", "b.yaml:1: workload.einsums: not a list"),
        ("workload:\n  rank_sizes:\n    B: {{BATCH}}", "b.yaml:3:1: a template that is not filled in"),
        (DEPTHWISE.replace(", output: True", ""), "0 outputs and 3 inputs"),
        (DEPTHWISE.replace("0 <= r < 3", "1 <= r < 3"), "bounds '1 <= r < 3'"),
        (DEPTHWISE.replace("4*2", "import os"), "size 'import os'"),
    ],
)
def test_errors_name_the_line_of_the_yaml(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_einsum_yaml(text, file="b.yaml")
    assert message in str(caught.value)
