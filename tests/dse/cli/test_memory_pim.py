"""``tiercade memory run`` on memories that compute: counts by hand, a published run, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dse.cli.entry import run
from simulator.memory.pim import presets
from workloads.documents import read_document

HBM = ["memory", "run", "--device", "hbm-pim"]
BANK = ["memory", "run", "--device", "attacc-bank"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_matrix_in_the_banks(capsys: pytest.CaptureFixture[str]) -> None:
    # 2 x 4096 x 4096 bytes in 16 channels of 64 units, 32 bytes a command: 1,024 commands, one each 12 ticks of 5200/2.
    found = document([*BANK, "--pattern", "gemv", "--shape", "4096x4096"], capsys)
    assert (found["rows"], found["columns"], found["batch"]) == (4096, 4096, 1)
    assert found["bound_cycles"] == 1024 * 12
    assert found["commands_of_a_channel"]["compute"] == 1024
    assert found["fraction_of_bound"] == pytest.approx(1024 * 12 / found["cycles"])
    assert found["seconds"] == pytest.approx(found["cycles"] * 0.384615e-9, rel=1e-5)
    assert found["bytes_inside"] >= 2 * 4096 * 4096
    assert found["operations_per_s"] == pytest.approx(2 * 4096 * 4096 / found["seconds"])
    assert sum(found["share_of_ticks"].values()) == pytest.approx(1)
    assert found["host"]["bandwidth_bytes_per_s"] < found["machine"]["peak_outside_bytes_per_s"]
    assert found["speedup"] == pytest.approx(found["host"]["seconds"] / found["seconds"])
    assert found["results_stay_inside"] is False


def test_both_take_what_the_vendors_simulator_has(capsys: pytest.CaptureFixture[str]) -> None:
    # PIMBenchFixture of SAITPublic/PIMSimulator b464dde, 4096 x 4096 in fp16, cycles of 1 ns: 36,082 by the host.
    found = document([*HBM, "--pattern", "gemv", "--shape", "4096x4096"], capsys)
    assert found["host"]["cycles"] == pytest.approx(36082, rel=0.02)
    assert found["cycles"] == pytest.approx(13166, rel=0.01)
    assert found["speedup"] == pytest.approx(2.74, rel=0.03)
    assert found["bound_cycles"] == 2 * 4096 * 4096 // (64 * 8 * 32) * 4
    assert found["results_stay_inside"] is True


def test_more_vectors_take_as_much_more_where_bursts_serve_one(capsys: pytest.CaptureFixture[str]) -> None:
    one, eight = (
        document([*BANK, "--pattern", "gemv", "--shape", "4096x4096", "--batch", count], capsys) for count in ("1", "8")
    )
    assert eight["bound_cycles"] == 8 * one["bound_cycles"]
    assert eight["speedup"] < one["speedup"]  # the host reads the matrix once for all of them


def test_element_by_element(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*HBM, "--pattern", "eltwise", "--elements", "1Mi"], capsys)
    assert found["elements"] == 2**20
    assert found["cycles"] == pytest.approx(3349, rel=0.01)  # as the matrix above; 6,651 by the host
    assert found["host"]["cycles"] == pytest.approx(6651, rel=0.02)
    # Two operands and a result of 2 bytes an element at least; the host moves exactly those.
    assert found["bytes_inside"] >= 3 * 2 * 2**20
    assert found["host"]["bytes_moved"] == 3 * 2 * 2**20
    assert document([*HBM, "--pattern", "eltwise", "--elements", "1048576"], capsys)["cycles"] == found["cycles"]


def test_reading_results_costs_time(capsys: pytest.CaptureFixture[str]) -> None:
    base = [*HBM, "--pattern", "gemv", "--shape", "4096x1024"]
    plain, read = document(base, capsys), document([*base, "--read-results"], capsys)
    assert read["cycles"] > plain["cycles"]
    assert read["bytes_outside"] > plain["bytes_outside"]


def test_the_report_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BANK, "--pattern", "gemv", "--shape", "1024x1024", "--batch", "2"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "1,024 x 1,024 matrix times 2 vectors in attacc-bank",
        "speed-up",
        "computing",
        "16 channels of HBM3",
    ):
        assert words in shown, words


def test_names_are_found_whatever_their_case(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["memory", "run", "--device", "HBM-PIM", "--pattern", "gemv", "--shape", "64X64"]
    assert document(arguments, capsys)["device"] == "hbm-pim"


def test_a_file_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundled = read_document(Path(presets.__file__).parent / "devices" / "pim.yaml").value
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"mine": bundled["attacc-bank"] | {"timing": {"nCCDAB": 24}}}))
    arguments = ["memory", "run", "--device", str(mine), "--pattern", "gemv", "--shape", "4096x4096"]
    found = document(arguments, capsys)
    assert (found["device"], found["bound_cycles"]) == ("mine", 1024 * 24)
    assert run(["memory", "show", str(mine)]) == 0
    assert capsys.readouterr().out.startswith("mine")
    mine.write_text(yaml.safe_dump({"one": bundled["attacc-bank"], "two": bundled["hbm-pim"]}))
    assert run(arguments) == 2
    assert "mine.yaml: found 2 memories; expected one in the file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (HBM, "--pattern: is missing; expected one of gemv, eltwise"),
        ([*HBM, "--pattern", "gemm"], "unknown pattern 'gemm'; expected one of eltwise, gemv; did you mean 'gemv'?"),
        ([*HBM, "--pattern", "seq"], "--pattern: 'seq' is a pattern of DRAM"),
        ([*HBM, "--pattern", "gemv"], "--shape: is missing"),
        ([*HBM, "--pattern", "gemv", "--shape", "4096"], "--shape: found '4096'; expected ROWSxCOLUMNS"),
        ([*HBM, "--pattern", "gemv", "--shape", "0x4096"], "--shape: found 0"),
        ([*HBM, "--pattern", "gemv", "--shape", "-1x4"], "--shape"),
        ([*HBM, "--pattern", "gemv", "--shape", "99999999x4"], "--shape: found 99999999"),
        ([*HBM, "--pattern", "gemv", "--shape", "8x8", "--batch", "0"], "--batch: found 0"),
        (
            [*HBM, "--pattern", "gemv", "--shape", "8x8", "--elements", "8"],
            "--elements: means nothing for pattern gemv",
        ),
        ([*HBM, "--pattern", "eltwise"], "--elements: is missing"),
        ([*HBM, "--pattern", "eltwise", "--elements", "1 MB"], "--elements: found '1 MB'"),
        ([*HBM, "--pattern", "eltwise", "--elements", "0"], "--elements: found '0'"),
        (
            [*HBM, "--pattern", "eltwise", "--elements", "8", "--shape", "8x8"],
            "--shape: means nothing for pattern eltwise",
        ),
        ([*HBM, "--pattern", "eltwise", "--elements", "8", "--read-results"], "--read-results: means nothing"),
        ([*BANK, "--pattern", "eltwise", "--elements", "8"], "--elements: attacc-bank has no element-wise operations"),
        (
            [*BANK, "--pattern", "gemv", "--shape", "8x8", "--read-results"],
            "--read-results: means nothing for attacc-bank",
        ),
        (
            [*HBM, "--pattern", "gemv", "--shape", "8x8", "--queue", "8"],
            "--queue: means nothing for a memory that computes",
        ),
        ([*HBM, "--pattern", "gemv", "--shape", "8x8", "--seed", "8"], "expected DRAM, such as DDR4-3200 or a drive"),
        (["memory", "run", "--device", "hbm-pm", "--pattern", "gemv"], "did you mean 'hbm-pim'?"),
        (["memory", "run", "--device", "isaac", "--pattern", "gemv"], "--device: isaac is an array that computes"),
        (["memory", "run", "--device", "pcie-4.0-x16", "--pattern", "gemv"], "--device: pcie-4.0-x16 is a link"),
        (
            ["memory", "run", "--device", "DDR4-3200", "--pattern", "gemv"],
            "'gemv' is a pattern of memories that compute",
        ),
        (
            ["memory", "run", "--device", "DDR4-3200", "--pattern", "seq", "--batch", "2"],
            "--batch: means nothing for DRAM",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err
