"""Several processes, on one machine or many, as one training or one evaluation.

Every process runs the same program on its own devices and its own part of each batch; the first one
writes. They find each other by the flags of main.py, or as JAX detects the cluster that started
them (SLURM, Open MPI, TPU pods, GKE).

A process that dies leaves the others waiting in a collective, or aborted by the runtime without a
word about the run. So each process counts up a number in the coordinator's store, and ends with one
line when the number of another stands still; and an abort prints that line too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gan_jax.core.errors import UserError
from gan_jax.platform.logs import announce_if_slow

SILENCE = 40.0  # seconds without a sign of life until a process counts as dead
HEARTBEAT = 100  # seconds until JAX's runtime aborts: later, so that our line comes first
_PULSE = 5.0  # seconds between signs of life
_KEY = "gan_jax/alive"


def join(coordinator: str, processes: int, process: int) -> None:
    """Join the other processes; call before any device is touched. Alone, do nothing.

    Args:
      coordinator: "HOST:PORT" of the first process; "" to detect a cluster.
      processes: how many there are; 0 to detect.
      process: the number of this one, from 0; -1 to detect.

    Raises:
      UserError: flags that do not fit together, or no coordinator.
    """
    given = bool(coordinator), processes > 0, process >= 0
    if any(given) and not all(given):
        raise UserError(
            "--coordinator=HOST:PORT, --processes=N and --process=I go together: the address of"
            " process 0, how many there are, and which one this is"
        )
    if all(given):
        _, colon, port = coordinator.rpartition(":")
        if not colon or not port.isdigit():
            raise UserError(f"--coordinator={coordinator}: of the form HOST:PORT")
        if process >= processes:
            raise UserError(f"--process={process}: from 0 to {processes - 1}")
    elif not _cluster_of_several():
        return
    arguments = (
        dict(coordinator_address=coordinator, num_processes=processes, process_id=process)
        if all(given)
        else {}
    )
    others = [i for i in range(processes) if i != process]
    which = f"process {others[0]}" if len(others) == 1 else f"the other {len(others)} processes"
    known = f"{which} of {processes} ({coordinator} is process 0)" if others else "the others"
    try:
        with announce_if_slow(f"waiting for {known} ..."):
            jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=HEARTBEAT)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot join the other processes ({reason})") from None


def _cluster_of_several() -> bool:
    """Return whether a cluster that JAX knows started this process, and others with it."""
    # JAX has no public question for this; `initialize` itself fails where there is none.
    from jax._src.clusters import ClusterEnv

    for cluster in ClusterEnv._cluster_types:
        if not cluster.opt_in_only_method and cluster.is_env_present():
            return cluster.get_process_count() > 1
    return False


def first() -> bool:
    """Return whether this process is the one that writes."""
    return jax.process_index() == 0


def several() -> bool:
    """Return whether there are others."""
    return jax.process_count() > 1


def barrier(name: str) -> None:
    """Wait until every process is here."""
    if several():
        multihost_utils.sync_global_devices(name)


def any_of(flag: bool) -> bool:
    """Return whether the flag is set in any process; all must ask."""
    if not several():
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def from_first(make: Callable[[], int]) -> int:
    """Return a number that the first process makes; all must ask."""
    if not several():
        return make()
    mine = make() if first() else 0
    return int(multihost_utils.broadcast_one_to_all(np.int32(mine)))


@contextlib.contextmanager
def watching(advice: Callable[[], str]) -> Iterator[None]:
    """End this process with one line if another one dies.

    Args:
      advice: what to say after the fact, such as the step to resume from.
    """
    if not several():
        yield
        return
    done = threading.Event()
    before = _on_abort(advice)
    watcher = threading.Thread(target=_watch, args=(done, advice), name="hosts", daemon=True)
    watcher.start()
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        # A collective that lost its partner, mostly; the partner's own errors end it, and us here.
        _end(f"{str(error).splitlines()[0][:120]}", advice)
    finally:
        done.set()
        watcher.join()
        before()


def _on_abort(advice: Callable[[], str]) -> Callable[[], None]:
    """Say what to do when C++ aborts the process; return a function that undoes this.

    A handler of Python's own `signal` would wait for the main thread, which is inside of C++.
    """
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: _end("the runtime aborted", advice))
    old = libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))

    def undo(_: Any = handler) -> None:  # which must live as long as it is installed
        libc.signal(signal.SIGABRT, old)

    return undo


def _watch(done: threading.Event, advice: Callable[[], str]) -> None:
    client = _client()
    others = [i for i in range(jax.process_count()) if i != jax.process_index()]
    seen: dict[int, tuple[Any, float]] = {i: (None, time.monotonic()) for i in others}
    while not done.wait(_PULSE):
        try:
            client.key_value_increment(f"{_KEY}/{jax.process_index()}", 1)
            counts = {i: _count(client, i) for i in others}
        except Exception:
            if done.is_set():
                return
            _end("the first process does not answer", advice)
        now = time.monotonic()
        for i, count in counts.items():
            if count != seen[i][0]:
                seen[i] = count, now
            elif now - seen[i][1] > SILENCE:
                _end(f"process {i} gave no sign of life for {SILENCE:.0f} s", advice)


def _count(client: Any, process: int) -> str | None:
    try:
        return client.key_value_try_get(f"{_KEY}/{process}")
    except Exception as error:
        if "NOT_FOUND" in str(error):  # it has not begun
            return None
        raise


def _client() -> Any:
    # The store of the coordinator has no public handle.
    from jax._src.distributed import global_state

    return global_state.client


def _end(what: str, advice: Callable[[], str]) -> None:
    """Print the line and end: what waits in a collective can be stopped in no other way."""
    line = f"error: another process was lost ({what}); {advice()}"
    print(line, file=sys.stderr, flush=True)
    os._exit(2)
