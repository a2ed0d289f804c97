"""Workers of a Dask cluster: the local pool's chunks, evaluated wherever the scheduler has room.

Dask gives the work of a worker that dies to another one, and gives up on work that was on too many dying workers
(``distributed.scheduler.allowed-failures``, 3 unless configured). What it gives up on is tried again one design at a
time with nothing else under way, so that a death is one design's doing; a design given up on alone has failed.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.outcomes import Outcomes
from dse.explore.pool import chunks, died, evaluate
from dse.space.space import Space
from workloads.errors import InputError

__all__ = ["DaskPool"]

_ANSWER_S = 5.0
_AHEAD = 2
"""Chunks under way for each thread of the cluster, so that none waits for us."""


class DaskPool:
    """The cluster whose scheduler is at ``address``; its workers need this package.

    ``workers`` is how many there were at the start. A worker evaluates one chunk at a time, however many threads it
    has. Raises `InputError` where Dask is not installed, nothing answers within some seconds or, later, the scheduler
    goes or a worker cannot import the package.
    """

    def __init__(self, space: Space, address: str) -> None:
        try:
            import distributed
        except ImportError:
            wanted = "the extra cluster: pip install 'tiercade[cluster]'"
            raise InputError("the package distributed is not installed", wanted, "--dask") from None
        self._space, self._address = space, address
        self._sent = pickle.dumps(space)
        try:
            self.workers = len(asyncio.run(_identity(address))["workers"])
        except Exception as error:  # whatever is there may answer anything
            said = f"nothing in {_ANSWER_S:g} s" if isinstance(error, OSError) else str(error).partition("\n")[0]
            wanted = "the address of one that runs, such as tcp://host:8786"
            raise InputError(f"no Dask scheduler answers at {address!r}: {said}", wanted, "--dask") from None
        self._dask: Any = distributed
        self._client = self._dask.Client(address, timeout=_ANSWER_S, set_as_default=False)

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        dask = self._dask
        waiting = chunks(self._space, ordinals, fidelity)[::-1]
        alone: list[NDArray[np.int64]] = []
        flying: dict[Any, NDArray[np.int64]] = {}
        completed = dask.as_completed(loop=self._client.loop)
        try:
            while waiting or alone or flying:
                room = 1 if alone else _AHEAD * max(1, sum(self._client.nthreads().values()))
                source = alone or waiting
                while source and len(flying) < room and not (source is alone and flying):
                    chunk = source.pop()
                    future = self._client.submit(_work, self._sent, chunk, fidelity, pure=False)
                    flying[future] = chunk
                    completed.add(future)
                future = next(completed)
                chunk = flying.pop(future)
                try:
                    yield future.result()
                except dask.KilledWorker:
                    if len(chunk) == 1:
                        yield died(self._space, chunk)
                    else:
                        alone += [chunk[at : at + 1] for at in range(len(chunk))][::-1]
        except (dask.CancelledError, OSError):
            wanted = "a scheduler that stays; --resume goes on with another"
            raise InputError(f"the scheduler at {self._address} went away", wanted, "--dask") from None
        except ImportError as error:
            raise InputError(f"a worker of the cluster failed: {error}", "tiercade on each", "--dask") from None
        finally:
            for future in flying:
                future.release()

    def close(self) -> None:
        """Leave the cluster; it goes on without us."""
        self._client.close(timeout=_ANSWER_S)


async def _identity(address: str) -> dict[str, Any]:
    """What the scheduler says of itself. A client would go on trying in the background long after it gave up."""
    from distributed.core import rpc

    connection: Any = rpc
    async with connection(address, timeout=_ANSWER_S) as scheduler:
        found: dict[str, Any] = await asyncio.wait_for(scheduler.identity(), _ANSWER_S)
    if found.get("type") != "Scheduler":
        raise ValueError(f"a {found.get('type')} is there")
    return found


_one_at_a_time = threading.Lock()
"""In a worker of several threads: what evaluates designs was written for one."""


@lru_cache(maxsize=1)
def _received(sent: bytes) -> Space:
    space = pickle.loads(sent)
    assert isinstance(space, Space)
    return space


def _work(sent: bytes, ordinals: NDArray[np.int64], fidelity: str) -> Outcomes:
    with _one_at_a_time:
        return evaluate(_received(sent), ordinals, fidelity)
