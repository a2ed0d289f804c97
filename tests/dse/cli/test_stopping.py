"""Ctrl-C during long computations."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from dse.cli.stopping import interruptible, stoppable


@pytest.fixture(autouse=True)
def _hears_interrupts() -> Iterator[None]:
    """A shell's background jobs begin with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_nobody_hears_is_remembered() -> None:
    """As when it is raised while compiled code calls back into Python, which can only drop it."""
    with interruptible() as stop:
        assert not stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert stop.why == "interrupt"


def test_the_first_interrupt_only_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stoppable(None) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_time_that_is_up_stops() -> None:
    with stoppable(0.0) as stop:
        assert stop()
        assert stop.why == "timeout"
