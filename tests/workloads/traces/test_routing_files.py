"""Routing traces in files: what is written is read again, and what is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.traces import RoutingStream, synthetic_routing
from workloads.traces.routing_files import RoutingTrace, read_routing, write_routing


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".npz"])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_written_is_read_again(tmp_path: Path, ending: str, weighted: bool) -> None:
    # Nine experts of which the largest is not picked: the number must be kept too.
    stream = synthetic_routing(steps=5, layers=2, batch=3, experts=8, top_k=2, seed=1)
    stream = RoutingStream(stream.picks, 9)
    weights = np.random.default_rng(0).random(stream.picks.shape) if weighted else None
    path = tmp_path / f"trace{ending}"
    write_routing(RoutingTrace(stream, weights), path)
    found = read_routing(path)
    assert found.stream.experts == 9
    assert (found.stream.picks == stream.picks).all()
    assert (found.weights is None) == (not weighted)
    if weights is not None and found.weights is not None:
        assert (found.weights == weights).all()


def test_rows_may_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("step,layer,sequence,experts\n1,0,0,2 0\n0,0,0,1 2\n")
    found = read_routing(path).stream
    assert found.picks[:, 0, 0].tolist() == [[1, 2], [2, 0]]
    assert found.experts == 3


HEADER = "step,layer,sequence,experts\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", r"'.txt' is no format of routing traces; expected .csv, .jsonl, .npz"),
        ("a.csv", "", "a header ''"),
        ("a.csv", HEADER, "has no rows"),
        ("a.csv", "step,layer,experts\n0,0,1\n", "a header 'step,layer,experts'"),
        ("a.csv", HEADER + "0,0,0\n", "a.csv:2: 3 cells; expected 4"),
        ("a.csv", HEADER + "0,0,0,1\n0,x,0,1\n", "a.csv:3: layer: 'x'; expected a whole number"),
        ("a.csv", HEADER + "0,0,0,-1\n", "experts: '-1'"),
        ("a.csv", HEADER + "0,0,0,1 1\n", "an expert twice"),
        ("a.csv", HEADER + "0,0,0,\n", "no experts"),
        ("a.csv", HEADER + "0,0,0,1\n0,0,0,2\n", "a.csv:3: step 0, layer 0, sequence 0 a second time"),
        ("a.csv", HEADER + "0,0,0,1\n2,0,0,2\n", "no row for step 1, layer 0, sequence 0"),
        ("a.csv", HEADER + "0,0,0,1\n200000000,200000000,200000000,2\n", "no row for step 0, layer 0, sequence 1"),
        ("a.csv", HEADER + "0,0,0,1\n1,0,0,1 2\n", "a.csv:3: experts: 2 experts; expected 1, as in the first row"),
        ("a.csv", "# experts 4\n" + HEADER + "0,0,0,4\n", "a.csv:3: experts: expert 4; expected 0 to 3"),
        ("a.csv", "step,layer,sequence,experts,weights\n0,0,0,1 2,0.5\n", "1 weights; expected 2"),
        ("a.csv", "step,layer,sequence,experts,weights\n0,0,0,1,nan\n", "weights: 'nan'; expected a finite number"),
        ("a.jsonl", "{", "a.jsonl:1: is no JSON"),
        ("a.jsonl", "[1]", "is no JSON object"),
        ("a.jsonl", '{"step": 0, "layer": 0, "sequence": 0}', "missing experts"),
        ("a.jsonl", '{"step": 0, "layer": 0, "sequence": 0, "experts": [1], "extra": 2}', "unknown extra"),
        ("a.jsonl", '{"step": 0, "layer": 0, "sequence": 0, "experts": 1}', "no list"),
        ("a.jsonl", '{"step": true, "layer": 0, "sequence": 0, "experts": [1]}', "step: True"),
        ("a.npz", "not an archive", "is no NumPy archive of plain arrays"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_routing(path)
    assert message in str(caught.value)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picks": np.zeros((1, 1, 1, 1))}, "picks: is missing or not of whole numbers"),
        ({"picks": np.zeros((1, 1), dtype=int), "experts": np.int64(2)}, "picks of shape (1, 1)"),
        ({"picks": np.zeros((1, 1, 1, 2), dtype=int), "experts": np.int64(2)}, "a token picks an expert twice"),
        ({"picks": np.full((1, 1, 1, 1), 2), "experts": np.int64(2)}, "expert numbers 2 to 2; expected 0 to 1"),
        (
            {"picks": np.zeros((1, 1, 1, 1), dtype=int), "experts": np.int64(2), "weights": np.ones(3)},
            "weights of shape (3,)",
        ),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "trace.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError) as caught:
        read_routing(path)
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("none.csv", "none.npz"):
        with pytest.raises(InputError, match="cannot be read: No such file"):
            read_routing(tmp_path / name)
    with pytest.raises(InputError, match="no format"):
        write_routing(RoutingTrace(synthetic_routing(steps=1, layers=1, batch=1, experts=2, top_k=1)), tmp_path / "x")
