"""A long computation that ends early on Ctrl-C or after a time, keeping the best so far."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType

__all__ = ["Stop", "interruptible", "stoppable"]


@dataclass
class Stop:
    """Asked often: has somebody pressed Ctrl-C, or has the time run out? ``why`` says which."""

    deadline: float | None = None
    why: str | None = None

    def __call__(self) -> bool:
        if self.why is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.why = "timeout"
        return self.why is not None


def stoppable(timeout_s: float | None) -> AbstractContextManager[Stop]:
    """Within it the first Ctrl-C only sets the `Stop`; a second one interrupts as usual."""
    return _heard(Stop(None if timeout_s is None else time.monotonic() + timeout_s), raising=False)


def interruptible() -> AbstractContextManager[Stop]:
    """Within it Ctrl-C interrupts as usual and sets the `Stop` too: what is raised while compiled code calls back is
    heard by nobody."""
    return _heard(Stop(), raising=True)


@contextmanager
def _heard(stop: Stop, *, raising: bool) -> Iterator[Stop]:
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        stop.why = "interrupt"
        signal.signal(signal.SIGINT, before)
        if raising:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
