"""The host of a serving engine by hand."""

from __future__ import annotations

import pytest

from simulator.serving.host import HOSTS, NO_HOST, Host, host_of


def test_a_graph_waits_for_steps_and_sequences() -> None:
    """10 steps of 3 sequences: 10 x (2 ms + 3 x 0.1 ms) = 23 ms, however long the device works."""
    host = Host("synthetic", 2e-3, 1e-4)
    assert host.beside_s(0.0, 10, 3, 800, prompts=False) == pytest.approx(23e-3)
    assert host.beside_s(9.0, 10, 3, 800, prompts=False) == pytest.approx(23e-3)


def test_eager_calls_hide_behind_the_device_while_it_works() -> None:
    """800 launches of 50 us take 40 ms: a device of 30 ms waits for 10 ms, one of 45 ms for none."""
    host = Host("synthetic", 0.0, 0.0, 5e-5, "eager")
    assert host.beside_s(30e-3, 1, 3, 800, prompts=False) == pytest.approx(10e-3)
    assert host.beside_s(45e-3, 1, 3, 800, prompts=False) == 0.0


def test_with_graphs_only_steps_with_prompts_are_launched_kernel_by_kernel() -> None:
    host = Host("synthetic", 0.0, 0.0, 5e-5)
    assert host.beside_s(30e-3, 1, 3, 800, prompts=False) == 0.0
    assert host.beside_s(30e-3, 1, 3, 800, prompts=True) == pytest.approx(10e-3)


def test_no_host() -> None:
    assert NO_HOST.beside_s(1.0, 10, 64, 800, prompts=True) == 0.0


def test_measured_hosts_say_where_each_number_is_from() -> None:
    for host in HOSTS.values():
        assert set(host.sources) == {"step_s", "sequence_s", "launch_s"}
        assert {source.kind for source in host.sources.values()} == {"fitted"}


def test_engines_of_2023_took_several_to_over_ten_milliseconds_a_step_and_those_of_today_far_less() -> None:
    """As measured at four devices (vLLM of 2023); its engines launch every kernel one by one."""
    assert 5e-3 < host_of("vllm-2023").step_s < 20e-3
    assert host_of("vllm-2023").launch == "eager"
    assert all(host_of(name).step_s < 1.5e-3 for name in ("vllm-0.12", "vllm-0.18", "sglang-0.5", "tensorrt-llm-1"))
