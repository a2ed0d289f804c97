"""``tiercade serve``: the document, files, and refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from dse.cli.serve_run import ServeOptions, serve_run
from hw.spec.load import load_system
from simulator.serving.cost import step_cost
from simulator.serving.step import StepBatch
from workloads.models.catalogue import model

SERVE = ["serve", "--model", "llama-3-8b", "--system", "a100-80gb-sxm"]
FEW = [*SERVE, "--requests", "azure-conversation-like:40@4"]


def document(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert run([*options, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *FEW, "--slo-ttft", "1 s", "--slo-tpot", "50 ms", "--price", "2.5")
    assert (found["requests"], found["completed"], found["devices"]) == (40, 40, 1)
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        values = found[name]
        assert 0 < values["p50"] <= values["p90"] <= values["p99"] <= values["max"]
    assert found["throughput_tokens_per_s"] == pytest.approx(found["tokens_out"] / found["simulated_s"])
    assert 0 <= found["goodput"]["share"] <= 1
    assert found["price"] == pytest.approx(2.5 * found["simulated_s"] / 3600)
    # Weights of 16.06 GB leave 0.9 x 80 GB - 16.06 GB; the issue is the share, so that 1 % is enough.
    assert found["kv"]["capacity_bytes"] == pytest.approx(0.9 * 80e9 - 16.06e9, rel=0.01)
    assert sum(found["parts_s"].values()) == pytest.approx(found["simulated_s"])
    assert found["energy_j"] > 0
    again = document(capsys, *FEW, "--slo-ttft", "1 s", "--slo-tpot", "50 ms", "--price", "2.5")
    del found["wall_seconds"], again["wall_seconds"]
    assert found == again


def test_the_first_token_of_a_request_alone_takes_its_prefill() -> None:
    run_alone = serve_run(
        ServeOptions(
            "llama-3-8b", "a100-80gb-sxm", "azure-conversation-like:1", token_budget=1 << 20, fidelity="roofline"
        ),
        lambda: False,
    )
    prompt = int(run_alone.result.prompt_tokens[0])
    prefill = step_cost(model("llama-3-8b"), load_system("a100-80gb-sxm")).step(StepBatch(((prompt, 0),), 1))
    assert run_alone.result.ttft_s[0] == pytest.approx(prefill.seconds)


def test_kernels_where_the_system_runs_any(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *SERVE, "--requests", "azure-conversation-like:2")
    assert (found["fidelity"], found["software"]) == ("kernel", "vllm-0.24")
    asked = ["serve", "--model", "gpt-2", "--system", "xeon-ddr5", "--requests", "azure-conversation-like:2"]
    found = document(capsys, *asked)
    assert (found["fidelity"], found["software"]) == ("roofline", None)


def test_a_shared_prompt_is_read_once(tmp_path: Path) -> None:
    """Eight requests at once share 4,096 of 4,608 prompt tokens, and decode together."""
    file = tmp_path / "shared.jsonl"
    rows = [
        {"timestamp": 0, "input_length": 4608, "output_length": 64, "hash_ids": [*range(8), 8 + number]}
        for number in range(8)
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    options = ServeOptions("llama-2-7b", "a100-80gb-sxm", str(file), kv="prefix:16", fidelity="roofline")
    apart, once = (serve_run(replace(options, relay=relay), lambda: False).result for relay in (False, True))
    # With all eight decoding a step reads seven of the eight shared parts less, 512 KiB a token.
    saved_s = 7 * 4096 * 524_288 / 2.039e12
    steps = 63
    assert apart.last_s.max() - once.last_s.max() == pytest.approx(steps * saved_s, rel=0.15)


def test_relay_needs_a_memory_that_shares(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FEW, "--relay"]) == 2
    assert "--relay: sequences share nothing in --kv paged:16; expected --kv prefix:16" in capsys.readouterr().err


def test_every_option_changes_something(capsys: pytest.CaptureFixture[str]) -> None:
    some = [*SERVE, "--requests", "azure-conversation-like:24@4"]
    base = document(capsys, *some)
    del base["wall_seconds"]
    crowd = [*SERVE, "--requests", "azure-conversation-like:24@1000"]
    crowded = document(capsys, *crowd)
    del crowded["wall_seconds"]
    for options, plain in (
        (["--tp", "2"], base),
        (["--tp", "1", "--pp", "2"], base),
        (["--dp", "2"], base),
        (["--disaggregate", "1:1"], base),
        (["--scheduler", "static"], base),
        (["--scheduler", "prefill-first"], base),
        (["--policy", "shortest", "--batch", "4"], document(capsys, *some, "--batch", "4")),
        (["--batch", "2"], base),
        (["--token-budget", "256"], crowded),
        (["--kv", "contiguous:max"], base),
        (["--kv-share", "0.5"], base),
        (["--kv-format", "fp8_e4m3"], base),
        (["--weights", "int4_g128"], base),
        (["--offload", "kv-format:int4_g128"], base),
        (["--rate", "8"], base),
        (["--until", "12"], base),
        (["--seed", "1"], base),
        (["--set", "tiers.hbm.read_bandwidth=1 TB/s"], base),
    ):
        found = document(capsys, *(crowd if plain is crowded else some), *options)
        plain.pop("wall_seconds", None)
        del found["wall_seconds"]
        assert found != plain, options


def written(path: Path, *rows: str, header: str = "arrived_at,num_prefill_tokens,num_decode_tokens") -> str:
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_lower_priorities_go_first(tmp_path: Path) -> None:
    # All are there at once and run one after another: the order of their first tokens is that of their priorities.
    rows = ("0,100,2,5", "0,100,2,9", "0,100,2,1")
    file = written(tmp_path / "t.csv", *rows, header="arrived_at,num_prefill_tokens,num_decode_tokens,priority")
    plain = ServeOptions("llama-3-8b", "a100-80gb-sxm", file, batch=1)
    assert serve_run(plain, lambda: False).result.first_s.argsort().tolist() == [0, 1, 2]
    ranked = serve_run(replace(plain, policy="priority"), lambda: False).result
    assert ranked.first_s.argsort().tolist() == [2, 0, 1]


def test_requests_without_arrivals_come_at_a_rate(tmp_path: Path) -> None:
    file = written(tmp_path / "t.csv", "100,2", "100,2", "100,2", header="num_prefill_tokens,num_decode_tokens")
    options = ServeOptions("llama-3-8b", "a100-80gb-sxm", file, rate=2.0)
    by_name = replace(options, rate=None, requests=f"{file}@2")
    found = [serve_run(which, lambda: False).result.arrival_s.tolist() for which in (options, by_name)]
    assert found[0] == found[1]
    assert found[0][0] == 0 < found[0][1] < found[0][2]


def test_a_prompt_far_too_long_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 131,072 bytes a token (32 layers, 8 heads of 128 keys and values, 2 bytes each): 1e9 + 9 tokens need 1.31e14.
    file = written(tmp_path / "t.csv", "0,1000000000,10")
    for kv in ("paged:16", "pages:2MiB", "contiguous", "prefix:16"):
        assert run([*SERVE, "--requests", file, "--kv", kv, "--json"]) == 3
        error = json.loads(capsys.readouterr().out)["error"]
        assert error["needed"] == pytest.approx(131072 * 1e9, rel=1e-4)


def test_requests_beyond_the_models_positions_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Llama-3-8B has 8,192 positions: 8,190 + 2 tokens fill them, one more is beyond.
    file = written(tmp_path / "t.csv", "0,8190,2", "0,8190,3", "0,10,2")
    assert document(capsys, *SERVE, "--requests", file)["beyond_positions"] == 1
    assert run([*SERVE, "--requests", file]) == 0
    assert "longer than the model's positions  1, served all the same" in capsys.readouterr().out


def test_windows_send_what_they_keep(tmp_path: Path) -> None:
    # Gemma-2-9B keeps 8,192 bytes a token in each of 42 layers (8 heads of 256 keys and values of 2 bytes), 21 of them
    # for 4,096 tokens at most: 21 x 8,192 x (20,000 + 4,096) bytes of a prompt of 20,000.
    file = written(tmp_path / "t.csv", "0,20000,2")
    options = ServeOptions("gemma-2-9b", "h200-sxm", file, disaggregate="1:1", kv_link="1 GB/s")
    slow, fast = (serve_run(replace(options, kv_link=link), lambda: False).result for link in ("1 GB/s", "2 GB/s"))
    kept = 21 * 8192 * (20000 + 4096)
    assert slow.last_s[0] - fast.last_s[0] == pytest.approx(kept / 1e9 - kept / 2e9)


def test_the_stage_with_most_layers_is_full_first(capsys: pytest.CaptureFixture[str]) -> None:
    # 32 layers in 5 stages: the longest has 7 of them, so that keys and values may take 32 / 7 of what it has left. All
    # layers are alike: 16.06 GB less the embedding and the head of 1.05 GB each are 13.96 GB; the last stage has 7
    # layers and the head (4.10 GB).
    found = document(capsys, *FEW, "--until", "2", "--tp", "1", "--pp", "5")
    assert found["kv"]["capacity_bytes"] == pytest.approx(32 / 7 * (0.9 * 80e9 - 4.10e9), rel=0.002)


def test_two_pools_and_their_link(capsys: pytest.CaptureFixture[str]) -> None:
    apart = [*FEW, "--disaggregate", "1:2"]
    fast = document(capsys, *apart)
    assert (fast["completed"], fast["devices"]) == (40, 3)
    slow = document(capsys, *apart, "--kv-link", "1 GB/s")
    over = document(capsys, *apart, "--kv-link", "1 GB/s", "--overlap")
    assert fast["ttft_s"]["p50"] == slow["ttft_s"]["p50"]
    assert fast["e2e_s"]["mean"] < over["e2e_s"]["mean"] < slow["e2e_s"]["mean"]


def test_keys_and_values_by_a_policy_in_the_memory_of_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    # Attention on the Xeons: keys and values have 0.9 of the DDR (h100-xeon: 2 TB), and nothing else is there.
    few = [*FEW, "--system", "h100-xeon", "--until", "5", "--offload", "cpu-attention"]
    found = document(capsys, *few)
    assert found["completed"] == 5
    assert found["kv"]["capacity_bytes"] == pytest.approx(0.9 * load_system("h100-xeon").tiers["ddr"].capacity_bytes)
    # Keys and values of 4 sinks and 64 tokens in blocks of 16 need no more than 4 + 64 + 2 x 16 tokens of a sequence,
    # at 131,072 bytes a token.
    windowed = document(capsys, *few, "--offload", "window:4,64", "--batch", "1", "--scheduler", "static")
    assert windowed["kv"]["peak_used_bytes"] <= 100 * 131072


def test_the_report_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FEW, "--slo-ttft", "1 s"]) == 0
    shown = capsys.readouterr().out
    for words in ("40 of 40 requests served", "time to first token", "goodput", "KV memory", "where time goes"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_figure_and_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "serving.svg"
    assert run([*FEW, "--figure", str(figure), "--out", str(tmp_path / "runs")]) == 0
    capsys.readouterr()
    folder = next((tmp_path / "runs").iterdir())
    assert {path.name for path in folder.iterdir()} == {
        "inputs.json", "manifest.json", "requests.csv", "serving.png", "serving.svg", "summary.json", "timeline.csv"
    }  # fmt: skip
    assert figure.read_bytes() == (folder / "serving.svg").read_bytes()
    # Equal inputs give equal files: what differs from run to run is left out.
    assert "wall_seconds" not in json.loads((folder / "summary.json").read_text())
    rows = (folder / "requests.csv").read_text().splitlines()
    assert len(rows) == 41
    assert rows[0].startswith("request,arrival_s,")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheduler", "chunkd"], "--scheduler: unknown batching 'chunkd'"),
        (["--policy", "priorty"], "did you mean 'priority'?"),
        (["--kv", "pagd:16"], "--kv: unknown KV memory 'pagd'"),
        (["--kv-format", "fp9"], "fp9"),
        (["--token-budget", "16"], "--token-budget: 16 tokens a step for up to 128 sequences"),
        (["--tp", "3"], "3"),
        (["--ep", "8"], "--ep: Llama-3-8B has no experts"),
        (["--dp", "0"], "--dp: found 0; expected at least 1"),
        (["--routing", "prefixes"], "--routing: unknown routing 'prefixes'"),
        (["--disaggregate", "1"], "--disaggregate: found '1'; expected two counts, such as 2:1"),
        (["--offload", "cpu-attentoin"], "--offload: unknown policy 'cpu-attentoin'"),
        (["--offload", "zig-zag:4"], "--offload: zig-zag divides a batch that changes"),
        (["--offload", "stream-weights", "--pp", "2", "--tp", "1"], "--offload: a policy beside stages"),
        (["--overlap"], "--overlap: stands without --disaggregate"),
        (["--slo-ttft", "1"], "--slo-ttft"),
        (["--slo-tpot", "50 MB"], "--slo-tpot"),
        (["--price", "-1"], "--price: found -1; expected a price of 0 or more"),
        (["--rate", "0"], "--rate: found 0; expected a rate above 0"),
        (["--rate", "1e-320"], "--rate: found 9.99989e-321; expected a rate above 0"),
        (["--seed", "-1"], "--seed: found -1; expected a seed of 0 or more"),
        (["--dp", "1000000"], "--dp: found 1000000; expected at least 1 and at most 9,999"),
        (["--price", "inf"], "--price: found inf"),
        (["--kv", "paged:16+remote:10"], "--kv: the number 10 has no unit"),
        (["--kv", "paged:16+remote:-10 GB"], "--kv: memory of -10 GB; expected at least 1 B"),
        (["--kv", "paged:16+ddr"], "--kv: nothing moves to the tiers of paged:16+ddr; expected --preemption park"),
        (["--preemption", "park"], "--preemption: --kv paged:16 has no tier to move sequences to"),
        (["--policy", "priority"], "--policy: azure-conversation-like has no priorities"),
        (["--offload", "h2o:2"], "--offload: a share of 2"),
        (["--until", "0"], "--until: found 0; expected at least 1 request"),
        (["--kv-share", "2"], "--kv-share: found 2"),
        (["--fidelity", "rooflin"], "did you mean 'roofline'?"),
        (["--requests", "azure-conversatoin-like:5"], "did you mean 'azure-conversation'?"),
        (["--requests", "no-such-file.csv"], "no-such-file.csv"),
    ],
)
def test_refusals_are_one_sentence(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*FEW, *options]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_a_model_that_does_not_fit_says_by_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    # 70e9 parameters of 2 bytes on one device of 80 GB.
    assert run([*FEW, "--model", "llama-2-70b", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["unit"] == "bytes"
    assert error["needed"] == pytest.approx(2 * 69e9, rel=0.01)
    assert math.isclose(error["available"], 80e9)


def test_an_interrupted_run_tells_what_was_served() -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    found = serve_run(ServeOptions("llama-3-8b", "a100-80gb-sxm", "azure-conversation-like:400@4"), stop).result
    assert found.interrupted
    assert 0 < found.completed.sum() < 400
