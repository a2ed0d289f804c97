"""The ``cascade`` commands as users type them, and the drawing they write."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dse.cli.cascade import app
from workloads.cascades import cascade_families, cascade_names, family_cascade, load_cascade
from workloads.einsum import parse_cascade
from workloads.einsum.drawing import draw_cascade
from workloads.errors import InputError


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_the_library_and_the_families() -> None:
    names = [row["name"] for row in json.loads(run("list", "--json"))]
    assert names == [*cascade_names(), *cascade_families()]
    assert "attention-1pass" in run("list")


def test_a_family_takes_its_parameter_as_a_size() -> None:
    assert parse_cascade(run("show", "gemm-chain")) == family_cascade("gemm-chain")
    sized = json.loads(run("analyse", "gemm-chain", "--size", "length=3", "--size", "m=2", "--size", "n=5", "--json"))
    assert sized["operations"] == {f"T{i}": {"mul": 50, "add": 50} for i in (1, 2, 3)}
    formulas = json.loads(run("analyse", "gemm-chain", "--size", "length=3", "--json"))
    assert set(formulas["operations"]) == {"T1", "T2", "T3"}
    result = json.loads(run("run", "gemm-chain", "--size", "m=2", "--size", "n=5", "--json"))
    assert result["results"]["T2"]["shape"] == [2, 5]


def test_show_prints_what_parses_back(tmp_path: Path) -> None:
    text = run("show", "attention-1pass")
    assert parse_cascade(text) == load_cascade("attention-1pass")
    file = tmp_path / "mine.edge"
    file.write_text(text, encoding="utf-8")
    assert run("show", file) == text
    assert json.loads(run("show", "gemm", "--json"))["inputs"] == {"A": ["m", "n0"], "W": ["n0", "n1"]}


def test_analyse_as_formulas_and_as_numbers() -> None:
    document = json.loads(run("analyse", "attention-3pass", "--json"))
    assert document["passes"] == 3
    assert document["live_footprint"]["K"]["m"] == "|m|"
    sized = json.loads(run("analyse", "gemm", "--size", "m=2", "--size", "n0=3", "--size", "n1=5", "--json"))
    assert sized["operations"]["Z"] == {"mul": 30, "add": 30}
    assert "pass 3: A visits it together with SD" in run("analyse", "attention-3pass")


def test_run_on_given_and_on_random_arrays(tmp_path: Path) -> None:
    a, w = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    np.savez(tmp_path / "in.npz", A=a, W=w)
    run("run", "gemm", "--inputs", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["Z"], a @ w)
    words = ["run", "embedding", "--size", "t=4", "--size", "v=10", "--size", "d=3", "--json"]
    assert json.loads(run(*words)) == json.loads(run(*words))
    assert json.loads(run(*words))["results"]["X"]["shape"] == [4, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "attention-4pass"], "unknown cascade 'attention-4pass'"),
        (["show", "missing.edge"], "missing.edge: cannot be read"),
        (["analyse", "gemm", "--size", "m"], "'m' is no size; expected RANK=NUMBER"),
        (["analyse", "gemm", "--size", "q=1"], "unknown rank or constant 'q'"),
        (["run", "gemm", "--inputs", "missing.npz"], "missing.npz: cannot be read"),
    ],
)
def test_wrong_words(words: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        run(*words)
    assert message in str(caught.value)


def test_every_cascade_is_drawn(tmp_path: Path) -> None:
    for name in cascade_names():
        cascade = load_cascade(name)
        root = ElementTree.fromstring(draw_cascade(cascade))
        assert len(root.findall("{http://www.w3.org/2000/svg}g")) == len(cascade.tensors)
    run("show", "gemm", "--svg", tmp_path / "gemm.svg")
    assert (tmp_path / "gemm.svg").read_text(encoding="utf-8") == draw_cascade(load_cascade("gemm"))
