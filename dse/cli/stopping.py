"""A long computation that ends early on Ctrl-C or after a time, keeping the best so far."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

__all__ = ["Stop", "stoppable"]


@dataclass
class Stop:
    """Asked often: has somebody pressed Ctrl-C, or has the time run out? ``why`` says which."""

    deadline: float | None = None
    why: str | None = None

    def __call__(self) -> bool:
        if self.why is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.why = "timeout"
        return self.why is not None


@contextmanager
def stoppable(timeout_s: float | None) -> Iterator[Stop]:
    """Within it the first Ctrl-C only sets the `Stop`; a second one interrupts as usual."""
    stop = Stop(None if timeout_s is None else time.monotonic() + timeout_s)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        stop.why = "interrupt"
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
