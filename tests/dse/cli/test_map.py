"""``tiercade map``: its flags, files, documents and refusals, typed as a user would."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run

SMALL = ["map", "--cascade", "gemm", "--sizes", "m=64,n0=64,n1=64", "--system", "mapping-simple"]
CHAIN = ["map", "--cascade", "gemm-chain", "--sizes", "m=64,n=64,length=2", "--system", "mapping-simple"]
FILE = """\
cascade: gemm
sizes: {m: 64, n0: 64, n1: 64}
system: mapping-simple
set:
  glb.capacity: 8192 bit
objective: energy
bits: 8
constraints:
  keep: {glb: [A]}
"""


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def written(tmp_path: Path, text: str, name: str = "problem.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


# What comes back


def test_the_document_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*SMALL, "--objective", "energy", "--bits", "8"], capsys)
    figures = {"energy_j", "latency_s", "edp", "traffic_bits", "utilisation", "usage_bits", "lower_bound", "gap"}
    assert {*figures, "optimal", "candidates", "seconds", "mapping", "problem", "system", "objective"} <= set(found)
    assert found["edp"] == pytest.approx(found["energy_j"] * found["latency_s"])
    # One multiply-accumulate per second at a clock of 1 Hz.
    assert found["latency_s"] == 64**3
    # 64 KiB hold all three matrices of 4 KiB: each crosses the outer level once, 8 bits an element.
    assert found["traffic_bits"]["dram"] == {
        "A": {"read": 8 * 64**2, "write": 0},
        "W": {"read": 8 * 64**2, "write": 0},
        "Z": {"read": 0, "write": 8 * 64**2},
    }
    assert found["optimal"] is True
    assert found["gap"] == 0
    assert found["objective"] == "energy"
    assert found["problem"]["bits"] == {"A": 8, "W": 8, "Z": 8}
    assert found["system"] == "mapping-simple"
    assert found["stopped"] is None


def test_the_report_shows_what_the_document_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*CHAIN, "--objective", "energy"]) == 0
    text = capsys.readouterr().out
    for word in ("energy", "latency", "EDP", "proven", "candidates", "T1", "T2", "dram", "glb", "capacity", "mac"):
        assert word in text


def test_cycles_of_a_systolic_array(capsys: pytest.CaptureFixture[str]) -> None:
    # SCALE-Sim 3.0.0 (commit 1d62b68), 32 x 32, 64 kB buffers, bandwidth 10, no stalls: total and compute cycles.
    array = ["map", "--cascade", "gemm", "--sizes", "m=256,n0=256,n1=256", "--system", "scale-sim-32x32"]
    for dataflow, total, compute in (("ws", 26_698, 22_399), ("os", 24_650, 20_351), ("is", 26_698, 22_399)):
        (einsum,) = document([*array, "--dataflow", dataflow], capsys)["einsums"]
        cycles = einsum["cycles"]
        assert (cycles["total"], cycles["compute"]) == (total, compute)
        assert cycles["prefetch"] + cycles["drain"] == total - compute
    assert run([*array, "--dataflow", "ws"]) == 0
    text = capsys.readouterr().out
    assert "26,698" in text
    assert "22,399" in text
    assert "cycles" not in document(SMALL, capsys)["einsums"][0]


def test_a_systolic_array_without_room_names_the_buffer(capsys: pytest.CaptureFixture[str]) -> None:
    array = ["map", "--cascade", "gemm", "--sizes", "m=64,n0=64,n1=64", "--system", "scale-sim-32x32"]
    assert run([*array, "--set", "input_sram.capacity=1 B", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    # At least one row of the array, 32 elements of 8 bits, twice: one in use while the other comes.
    assert "input_sram" in error["message"]
    assert "needs 512 bit, has 8 bit" in error["message"]


def test_the_report_says_how_busy_each_unit_is(capsys: pytest.CaptureFixture[str]) -> None:
    attention = ["map", "--cascade", "attention-1pass", "--sizes", "b=64,h=12,p=1024,m=1024,e=64,f=64"]
    found = document([*attention, "--system", "fusemax"], capsys)
    # FuseMax artifact (commit f543beb), BERT, 1K tokens: .889610 of the 2D array, all of the 1D array.
    assert found["utilisation"]["array2d"] == pytest.approx(0.88961, abs=0.02)
    assert found["latency_s"] == pytest.approx(0.00201314042553, rel=0.02)
    assert 0 < found["lower_bound"]["latency_s"] <= found["latency_s"]
    assert run([*attention, "--system", "fusemax"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["array2d", "256", "x", "256", "89", "%"] for line in lines)
    # Registers between pipelined Einsums are not counted, so the report says nothing of their room.
    assert not any(line.startswith("registers2d") and "32 B" in line for line in lines)


def test_a_size_beyond_all_reason_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    for size in ("1e18", "1e300"):
        words = ["map", "--cascade", "gemm", "--sizes", f"m={size},n0=1,n1=1", "--system", "mapping-simple", "--json"]
        assert run(words) == 2
        assert "at most 4,294,967,296" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_running_state_asks_for_a_pipelined_machine(capsys: pytest.CaptureFixture[str]) -> None:
    attention = ["map", "--cascade", "attention-1pass", "--sizes", "b=1,h=1,p=64,m=1024,e=64,f=64", "--json"]
    assert run([*attention, "--system", "mapping-tpu-v4i"]) == 2
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert message.startswith("--cascade: SPD reads the running state RD")
    assert "pipelined machine such as fusemax" in message


def test_a_width_per_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*SMALL, "--objective", "energy", "--bits", "W=4,A=16", "--bits", "Z=8"], capsys)
    reads = {tensor: bits["read"] + bits["write"] for tensor, bits in found["traffic_bits"]["dram"].items()}
    assert reads == {"A": 16 * 64**2, "W": 4 * 64**2, "Z": 8 * 64**2}


def test_unfused_chains_move_their_intermediate(capsys: pytest.CaptureFixture[str]) -> None:
    fused = document([*CHAIN, "--objective", "energy"], capsys)
    whole = {"read": 8 * 64**2, "write": 8 * 64**2}
    assert "T1" not in fused["traffic_bits"]["dram"]
    for words in (["--no-fuse"], ["--unfused", "T1"]):
        unfused = document([*CHAIN, "--objective", "energy", *words], capsys)
        assert unfused["traffic_bits"]["dram"]["T1"] == whole
        # Twice 64^2 bytes more at 100 pJ/bit, and as much through the buffer at 1 pJ/bit at least.
        assert unfused["energy_j"] >= fused["energy_j"] + 2 * 8 * 64**2 * 100e-12


def test_a_bypassed_level_holds_nothing_of_the_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*SMALL, "--objective", "energy", "--bypass", "glb=A"], capsys)
    assert "A" not in found["traffic_bits"]["glb"]
    # Read for every multiply-accumulate where it stays: 8 bits, the cascade's own width.
    assert found["traffic_bits"]["dram"]["A"]["read"] == 8 * 64**3


def test_a_fixed_tile_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--objective", "energy", "--tiles", "divisor", "--bits", "8", "--keep", "glb=Z"]
    fixed = [*words, "--tile", "glb.Z.m=16,glb.Z.n1=16", "--dataflow", "os"]
    found = document(fixed, capsys)
    # Z stays until it is done: written once, never read back.
    assert found["traffic_bits"]["dram"]["Z"] == {"read": 0, "write": 8 * 64**2}
    assert found["energy_j"] >= document(words, capsys)["energy_j"]


def test_a_whole_system_serves_as_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--sizes", "m=256,n0=256,n1=256", "--bits", "16"]
    found = document(["map", "--cascade", "gemm", *sizes, "--system", "a100-80gb-sxm"], capsys)
    # 2 x 256^3 operations at 312 TFLOP/s, or 3 matrices of bf16 through 2.039 TB/s: the second is longer.
    assert found["latency_s"] == pytest.approx(3 * 256**2 * 2 / 2.039e12)


def test_mapping_and_drawing_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg, out = tmp_path / "nest.svg", tmp_path / "nest.json"
    found = document([*SMALL, "--svg", str(svg), "--mapping-out", str(out)], capsys)
    assert svg.read_text().lstrip().startswith("<")
    assert json.loads(out.read_text()) == found["mapping"]


def test_the_same_bytes_twice(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (document(CHAIN, capsys) for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


# Problem files


def test_a_file_says_what_flags_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*SMALL, "--set", "glb.capacity=8192 bit", "--objective", "energy", "--bits", "8", "--keep", "glb=A"]
    ours, theirs = document(["map", written(tmp_path, FILE)], capsys), document(flags, capsys)
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_flags_go_before_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, FILE)
    found = document(["map", path, "--sizes", "m=32", "--objective", "latency", "--bits", "W=4"], capsys)
    assert found["problem"]["sizes"] == {"m": 32, "n0": 64, "n1": 64}
    assert found["objective"] == "latency"
    assert found["problem"]["bits"]["W"] == 4
    larger = document(["map", path, "--set", "glb.capacity=64 KiB"], capsys)
    assert larger["energy_j"] < document(["map", path], capsys)["energy_j"]


def test_a_cascade_in_the_file_or_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "cascade mine\nrank i, j, k\ninput X[i, k], Y[k, j]\noutput Z\nZ[i, j] = X[i, k] * Y[k, j] :: add(k)\n"
    rest = "sizes: {i: 8, j: 8, k: 8}\nsystem: machine.yaml\n"
    preset = Path(__file__).parents[3] / "hw/spec/hierarchies/mapping-simple.yaml"
    (tmp_path / "machine.yaml").write_text(preset.read_text())
    inline = "cascade: |\n" + "".join(f"  {line}\n" for line in text.splitlines())
    (tmp_path / "mine.edge").write_text(text)
    ours = document(["map", written(tmp_path, inline + rest)], capsys)
    beside = document(["map", written(tmp_path, "cascade: mine.edge\n" + rest, "other.yaml")], capsys)
    assert {**ours, "seconds": 0} == {**beside, "seconds": 0}
    assert ours["latency_s"] == 8**3


# Ending early


def test_ctrl_c_keeps_the_best_so_far(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import mappers.search as module

    real = module.search

    def interrupted(*arguments: Any, should_stop: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()
        return real(*arguments, **named)

    monkeypatch.setattr(module, "search", interrupted)
    assert threading.current_thread() is threading.main_thread()
    assert run([*SMALL, "--json"]) == 130
    captured = capsys.readouterr()
    assert json.loads(captured.out)["stopped"] == "interrupt"
    assert "interrupted" in captured.err
    assert "Traceback" not in captured.err


def test_a_timeout_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*CHAIN, "--timeout", "60"], capsys)
    assert found["stopped"] is None


# Whole models


def test_a_model_is_mapped_shape_by_shape(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["map", "--model", "gpt-2", "--system", "a100-80gb-sxm", "--context", "128"], capsys)
    assert found["objective"] == "latency"
    assert found["mapped_s"] >= found["roofline_s"] > 0
    assert all(op["mapped_s"] >= op["roofline_s"] for op in found["ops"])
    assert found["distinct_shapes"] + found["cache_hits"] + found["at_roofline"] == len(found["ops"])
    total = sum(op["count"] * op["mapped_s"] for op in found["ops"])
    assert found["mapped_s"] == pytest.approx(total)


def test_the_report_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["map", "--model", "gpt-2", "--system", "a100-80gb-sxm", "--context", "128", "--phase", "decode"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    for word in ("qkv", "roofline", "distinct shapes", "no contraction to tile", "CPU time"):
        assert word in text


# What is refused


def bad_lines() -> Iterator[tuple[list[str], int, str]]:
    """Arguments, exit code and a word the message must have."""
    no_cascade = ["map", "--sizes", "m=8", "--system", "mapping-simple"]
    yield ["map"], 2, "--cascade: is missing"
    yield no_cascade, 2, "--cascade: is missing"
    yield ["map", "--cascade", "gemm", "--sizes", "m=8,n0=8,n1=8"], 2, "--system: is missing"
    yield [*SMALL, "--cascade", "gem"], 2, "--cascade: unknown cascade 'gem'"
    yield [*SMALL, "--cascade", "no/such.edge"], 2, "no/such.edge"
    yield [*SMALL, "--cascade", ""], 2, "--cascade"
    yield [*SMALL, "--system", "mapping-simpel"], 2, "did you mean 'mapping-simple'"
    yield [*SMALL, "--system", "no/such.yaml"], 2, "no/such.yaml"
    yield [*SMALL, "--system", "phone-ufs4"], 2, "--system: engines.npu.buffers has no buffers"
    yield [*SMALL, "--sizes", "q=8"], 2, "--sizes: unknown rank or constant 'q'"
    yield [*SMALL[:4], "m=64,n0=64", *SMALL[5:]], 2, "--sizes: no size for rank 'n1'"
    yield [*SMALL[:4], "m=64,n0=64,n1=0", *SMALL[5:]], 2, "--sizes: n1: size 0"
    yield [*SMALL[:4], "m=64,n0=64,n1=-3", *SMALL[5:]], 2, "--sizes: n1: size -3"
    yield [*SMALL[:4], "m=64,n0=64,n1=1.5", *SMALL[5:]], 2, "--sizes: n1: size 1.5"
    yield [*SMALL[:4], "m=64,m=32,n0=64,n1=8", *SMALL[5:]], 2, "--sizes: 'm' is given twice"
    for word in ("m", "=8", "m=", "m=eight", "m=nan", "m=inf"):
        yield [*SMALL, "--sizes", word], 2, f"--sizes: {word!r} is no size"
    yield [*CHAIN[:4], "m=64,n=64,length=0", *CHAIN[5:]], 2, "--sizes"
    yield [*CHAIN[:4], "m=64,n=64,length=1.5", *CHAIN[5:]], 2, "--sizes"
    yield [*SMALL, "--objective", "edpp"], 2, "--objective: unknown objective 'edpp'"
    yield [*SMALL, "--tiles", "divisors"], 2, "--tiles: unknown tiles 'divisors'"
    yield [*SMALL, "--dataflow", "rs"], 2, "--dataflow: unknown dataflow 'rs'"
    for word in ("eight", "A=", "A=x", "1.5"):
        yield [*SMALL, "--bits", word], 2, f"--bits: {word!r}"
    yield [*SMALL, "--bits", "0"], 2, "--bits: an element of 0 bits"
    yield [*SMALL, "--bits", "B=8"], 2, "--bits: unknown tensor 'B'"
    yield [*SMALL, "--set", "glb.capacity"], 2, "--set"
    yield [*SMALL, "--set", "glb.capacty=8 KiB"], 2, "did you mean 'capacity'"
    yield [*SMALL, "--set", "gbl.capacity=8 KiB"], 2, "did you mean 'glb'"
    yield [*SMALL, "--set", "glb.capacity=8"], 2, "--set: levels.glb.capacity"
    yield [*SMALL, "--set", "glb.capacity=-8 KiB"], 2, "--set: levels.glb.capacity"
    for option in ("--keep", "--bypass"):
        yield [*SMALL, option, "glb"], 2, f"{option}: 'glb'; expected LEVEL=TENSOR"
        yield [*SMALL, option, "l2=A"], 2, f"{option}: unknown level 'l2'"
        yield [*SMALL, option, "glb=B"], 2, f"{option}: unknown tensor 'B'"
    yield [*SMALL, "--keep", "glb=A", "--bypass", "glb=A"], 2, "--bypass: A is both kept"
    for word in ("glb.A.m", "glb.A=8", "glb.A.m=x", "glb..m=8"):
        yield [*SMALL, "--tile", word], 2, "--tile: "
    yield [*SMALL, "--tile", "l2.A.m=8"], 2, "--tile: unknown level 'l2'"
    yield [*SMALL, "--tile", "glb.B.m=8"], 2, "--tile: unknown tensor 'B'"
    yield [*SMALL, "--tile", "glb.A.n1=8"], 2, "--tile: unknown rank 'n1'"
    yield [*SMALL, "--tile", "glb.A.m=65"], 2, "--tile: a tile of 65 along m; expected 1 to 64"
    yield [*SMALL, "--tile", "glb.A.m=0"], 2, "--tile: a tile of 0"
    yield [*SMALL, "--tile", "glb.A.m=8,glb.A.m=16"], 2, "--tile: two tiles"
    yield [*CHAIN, "--unfused", "T3"], 2, "--unfused: unknown intermediate tensor 'T3'"
    yield [*SMALL, "--unfused", "A"], 2, "--unfused"
    yield [*SMALL, "--workers", "0"], 2, "--workers: 0 workers"
    yield [*SMALL, "--workers", "many"], 2, "--workers"
    yield [*SMALL, "--timeout", "0"], 2, "--timeout: 0 seconds"
    yield [*SMALL, "--timeout", "nan"], 2, "--timeout"
    yield [*SMALL, "--batch", "4"], 2, "--batch: is an option of a whole model's mapping"
    yield [*SMALL, "--svg", "no/such/folder/x.svg"], 2, "no/such/folder"
    yield [*SMALL, "--mapping-out", "."], 2, "is a folder"
    yield [*SMALL, "--objektive", "edp"], 2, "--objektive"
    yield ["map", "no-such.yaml"], 2, "no-such.yaml: no such file"
    model = ["map", "--model", "gpt-2", "--system", "h100-sxm"]
    yield ["map", "--model", "gpt-2"], 2, "--system: is missing"
    yield [*model[:3], "--system", "h100-sxl"], 2, "--system"
    yield ["map", "--model", "gtp-2", "--system", "h100-sxm"], 2, "--model"
    yield [*model, "--phase", "decod"], 2, "--phase: unknown phase 'decod'"
    yield [*model, "--batch", "0"], 2, "--batch"
    yield [*model, "--context", "5000"], 2, "--context"
    yield [*model, "--context", "64", "--devices", "5"], 2, "--devices"
    yield [*model, "--objective", "speed"], 2, "--objective"
    yield [*model, "--set", "tiers.hmb.capacity=8 GB"], 2, "--set"
    yield [*model, "--bits", "8"], 2, "--bits: does not go with --model"
    yield [*model, "--cascade", "gemm"], 2, "--cascade: does not go with --model"
    yield [*model, "problem.yaml"], 2, "PROBLEM.yaml: does not go with --model"
    # An element of 8 bits does not fit into 4.
    yield [*SMALL, "--set", "glb.capacity=4 bit", "--keep", "glb=A"], 3, "glb"


def bad_files() -> Iterator[tuple[str, str]]:
    """A problem file's text and what its message must have after the file's name."""
    yield "", ":1: the file is empty"
    yield "- gemm\n", ":1: found a list"
    yield FILE.replace("cascade: gemm\n", ""), ":1: cascade: is missing"
    yield FILE.replace("system: mapping-simple\n", ""), ":1: system: is missing"
    yield FILE.replace("sizes:", "size:"), ":2: size: unknown key 'size'"
    yield FILE.replace("objective:", "objectiv:"), ":6: objectiv: unknown key 'objectiv'"
    yield FILE.replace("keep:", "kepe:"), ":9: constraints.kepe: unknown key 'kepe'"
    yield FILE.replace("energy", "enrgy"), ":6: objective: found 'enrgy'"
    yield FILE.replace("bits: 8", "bits: eight"), ":7: bits: found 'eight'"
    yield FILE.replace("bits: 8", "bits: 1.5"), ":7: bits: found"
    yield FILE.replace("bits: 8", "bits: {B: 8}"), ":7: bits: unknown tensor 'B'"
    yield FILE.replace("bits: 8", "bits: {A: 0}"), ":7: bits: an element of 0 bits"
    yield FILE.replace("m: 64", "m: many"), ":2: sizes.m: found 'many'"
    yield FILE.replace("m: 64", "q: 64"), ":2: sizes.q: unknown rank or constant 'q'"
    yield FILE.replace("m: 64", "m: 0"), ":2: sizes.m: m: size 0"
    yield FILE.replace("m: 64, ", ""), ":2: sizes: no size for rank 'm'"
    yield FILE.replace("gemm", "gem"), ":1: cascade: unknown cascade 'gem'"
    yield FILE.replace("mapping-simple", "mapping-simpel"), ":3: system: unknown machine 'mapping-simpel'"
    yield FILE.replace("glb.capacity: 8192 bit", "glb.capacity: 8192"), ":4: set: levels.glb.capacity"
    yield FILE.replace("glb.capacity: 8192 bit", "glb.size: 8192 bit"), ":4: set: levels.glb.size"
    yield FILE.replace("glb.capacity: 8192 bit", "glb.capacity: [8]"), ":5: set.glb.capacity: found a list"
    yield FILE.replace("{glb: [A]}", "{l2: [A]}"), ":9: constraints.keep.l2: unknown level 'l2'"
    yield FILE.replace("{glb: [A]}", "{glb: [B]}"), ":9: constraints.keep.glb: unknown tensor 'B'"
    yield FILE.replace("{glb: [A]}", "{glb: 8}"), ":9: constraints.keep.glb: found"
    yield FILE + "  tiles: {glb.A: 8}\n", ":10: constraints.tiles.glb.A: 'glb.A' is no store's rank"
    yield FILE + "  tiles: {glb.A.m: 128}\n", ":10: constraints.tiles.glb.A.m: a tile of 128"
    yield FILE + "  tiles: {glb.A.m: big}\n", ":10: constraints.tiles.glb.A.m: found"
    yield FILE + "  dataflow: rs\n", ":10: constraints.dataflow: found"
    yield FILE + "  unfused: Z\n", ":10: constraints.unfused: unknown intermediate tensor 'Z'"
    yield FILE + "fuse: maybe\n", ":10: fuse: found"
    yield FILE + "tiles: any\n", ":10: tiles: found"
    yield FILE + "cascade: gemm\n", ":10: cascade: "
    yield FILE.replace("gemm", "|\n  cascade x\n  rank i\n  Z[i] = \n"), ":1: cascade: line 3 of the cascade"
    yield FILE.replace("gemm", "nowhere.edge"), ""


LINES, FILES = list(bad_lines()), list(bad_files())


def test_there_are_enough() -> None:
    assert len(LINES) + len(FILES) >= 40


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_bad_line_is_refused(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, code, words = LINES[number]
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.startswith("tiercade")
    assert captured.err.count("\n") == 1, captured.err
    assert captured.out == ""


@pytest.mark.parametrize("number", range(len(FILES)))
def test_a_bad_file_is_refused(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, words = FILES[number]
    path = written(tmp_path, text)
    assert run(["map", path]) == 2
    captured = capsys.readouterr()
    if words:
        assert f"{path}{words}" in captured.err
    assert captured.err.startswith("tiercade")
    assert captured.err.count("\n") == 1, captured.err
    assert captured.out == ""


def test_with_json_the_error_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--objective", "edpp", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["field"], error["nearest"]) == ("input", "--objective", "edp")
