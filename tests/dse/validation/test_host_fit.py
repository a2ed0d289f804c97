"""A host that is fitted to what a known host would take is that host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dse.validation.end_to_end import predict_phase
from dse.validation.host_fit import fit_host, host_error
from dse.validation.machines import Skipped
from dse.validation.measurements import Measurement
from simulator.serving.host import Host
from workloads.errors import InputError

TRUE = Host("true", 5e-3, 200e-6, 40e-6, "eager")


def rows() -> list[Measurement]:
    """Static batches of 1 to 64 on one and eight GPUs: bound by launches, by the device, and between."""
    plain = Measurement("1", "H100-SXM-80GB", "vLLM (2023)", "e2e", "tpot", "fp16", "Llama-2-7B", {}, 1.0)
    found = []
    for tp in (1, 8):
        for batch, prompt in ((1, 128), (8, 512), (64, 512), (16, 2048)):
            row = replace(plain, numbers={"tp": tp, "batch": batch, "q_len": prompt, "kv_len": prompt + 64})
            seconds = predict_phase(row, host=TRUE)
            assert not isinstance(seconds, Skipped)
            found.append(replace(row, latency_s=seconds))
    return found


def test_the_true_host_has_no_error() -> None:
    assert host_error(rows(), TRUE) == pytest.approx(0.0, abs=1e-12)


def test_the_true_host_is_found() -> None:
    found, error = fit_host(rows(), "eager", start=(2e-3, 100e-6, 30e-6), calls=300)
    assert error < 0.005
    assert found.step_s == pytest.approx(TRUE.step_s, rel=0.1)
    assert found.sequence_s == pytest.approx(TRUE.sequence_s, rel=0.1)
    assert found.launch_s == pytest.approx(TRUE.launch_s, rel=0.1)


def test_rows_without_a_prediction() -> None:
    with pytest.raises(InputError) as caught:
        host_error([replace(rows()[0], model="no-such-model")], TRUE)
    assert caught.value.field == "rows"
