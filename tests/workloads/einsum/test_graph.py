"""Dependencies, shared loops and reuse of small cascades, worked out by hand."""

from __future__ import annotations

import networkx as nx

from workloads.cascades import cascade_names, load_cascade
from workloads.einsum import analyse, dependency_graph, fusion_groups, parse_cascade, reuse_ranks


def test_dependency_graph_of_three_pass_attention() -> None:
    graph = dependency_graph(load_cascade("attention-3pass"))
    assert set(graph.predecessors("SN")) == {"QK", "GM"}
    assert set(graph.predecessors("AV")) == {"A", "V"}
    assert graph.nodes["K"]["kind"] == "input"
    assert graph.nodes["AV"]["kind"] == "output"
    assert graph.nodes["AV"]["contraction"]
    assert not graph.nodes["SD"]["contraction"]
    assert graph.edges["V", "AV"]["ranks"] == ("b", "h", "m", "f")


def test_only_running_states_close_a_circle() -> None:
    for name in cascade_names():
        graph = dependency_graph(load_cascade(name))
        written_in_loops = {node for circle in nx.simple_cycles(graph) for node in circle}
        steps = {
            einsum.label
            for einsum in load_cascade(name).einsums
            if any(len(i.terms) == 2 for i in einsum.output.indices)
        }
        assert not written_in_loops or written_in_loops & steps


def test_three_pass_attention_shares_three_loops_over_keys() -> None:
    groups = fusion_groups(load_cascade("attention-3pass"))
    assert groups["m"] == (("QK", "GM"), ("SN", "SD"), ("A", "AV"))
    assert groups["p"] == (("QS", "QK", "GM", "SN", "SD", "A", "AV"),)
    assert groups["f"] == (("AV",),)


def test_one_pass_attention_shares_one_loop_over_blocks() -> None:
    (group,) = fusion_groups(load_cascade("attention-1pass"))["m1"]
    assert set(group) == {"QK", "LM", "RM", "PRM", "SLN", "SLD", "SLNV", "SPD", "RD", "SPNV", "RNV"}


def test_two_products_share_the_rows_and_not_the_folded_rank() -> None:
    text = (
        "cascade c\ninput A[m, k], B[k, n], C[n, l]\noutput Z\n"
        "T[m, n] = A[m, k] * B[k, n]\nZ[m, l] = T[m, n] * C[n, l]\n"
    )
    groups = fusion_groups(parse_cascade(text))
    assert groups["m"] == (("T", "Z"),)
    assert groups["n"] == (("T", "Z"),)
    assert groups["k"] == (("T",),)


def test_reading_behind_shares_the_loop_and_reading_ahead_does_not() -> None:
    head = "cascade c\ninput X[m]\noutput Z\nT[m] = X[m] * 2\n"
    assert fusion_groups(parse_cascade(head + "Z[m] = T[m - 1]\n"))["m"] == (("T", "Z"),)
    assert fusion_groups(parse_cascade(head + "Z[m] = T[m + 1]\n"))["m"] == (("T",), ("Z",))


def test_reuse_is_along_the_ranks_an_operand_lacks() -> None:
    assert reuse_ranks(load_cascade("gemm")) == {"Z": {"A": ("n1",), "W": ("m",)}}
    assert reuse_ranks(load_cascade("attention-3pass"))["QK"] == {"QS": ("m",), "K": ("g", "p")}


def test_the_document_is_complete_with_and_without_sizes() -> None:
    for name in cascade_names():
        document = analyse(load_cascade(name))
        assert {
            "passes",
            "passes_by_rank",
            "live_footprint",
            "operations",
            "compulsory_traffic",
            "fusible",
            "why",
        } <= set(document)
    document = analyse(load_cascade("gemm"), {"m": 2, "n0": 3, "n1": 5})
    assert document["operations"] == {"Z": {"mul": 30, "add": 30}}
    assert document["iteration_space"] == {"Z": {"m": 2, "n1": 5, "n0": 3}}
    assert analyse(load_cascade("gemm"))["operations"] == {"Z": {"mul": "|m|*|n1|*|n0|", "add": "|m|*|n1|*|n0|"}}
