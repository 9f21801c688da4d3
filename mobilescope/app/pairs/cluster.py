"""Work on a dask cluster: one of this machine, or one that is there already; workers may die, the rest goes on."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from mobilescope.core.errors import ClusterError, MobilescopeError, UserError
from mobilescope.core.processes import starting_workers
from mobilescope.core.progress import StopToken

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "local"
_CONNECT_S = 10
_NO_WORKER_S = 60
_LOOK_S = 0.25
_FETCH_S = 30.0
# So many tasks for each thread lie ready, so that none waits for this program; a scheduler is slow with millions.
_AHEAD = 4
_LIVE = ("running", "connecting")


@dataclass(frozen=True)
class Outcome:
    """How a task ended: its label, and what it returned or why it failed."""

    label: Any
    value: Any = None
    error: MobilescopeError | None = None


class Crowd:
    """Tasks on a cluster, a limited number at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: dict[Future[Any], Any] = {}
        self._run = uuid.uuid4().hex[:8]
        self._given = 0
        self._bare_since_s: float | None = None
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()

    @property
    def has_room(self) -> bool:
        """Whether the workers could do with more tasks."""
        threads = sum(self._client.nthreads().values())
        return len(self._running) < _AHEAD * max(1, threads)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to wait for."""
        return not self._running

    def submit(self, label: Any, function: Callable[..., Any], *arguments: Any, first: bool = False) -> None:
        """Hand a task over; ``first`` puts it before those that wait."""
        self._given += 1
        future = self._client.submit(
            function, *arguments, pure=False, key=f"{function.__name__}-{self._run}-{self._given}",
            priority=int(first),
        )
        self._running[future] = label
        future.add_done_callback(self._ended.put)

    def next_ended(self, stop: StopToken, what: str) -> Outcome | None:
        """Wait until a task ends and return how; None where there is none to wait for.

        Raises
        ------
        CancelledError
            A stop was asked for; what runs is not waited for.
        ClusterError
            The cluster is gone.
        """
        while self._running:
            stop.raise_if_requested(what)
            if self._client.status not in _LIVE:
                raise ClusterError("the connection to the cluster was lost", "run the same command again; it goes on")
            try:
                future = self._ended.get(timeout=_LOOK_S)
            except Empty:
                self._check_workers()
                continue
            outcome = self._outcome(future)
            if outcome is not None:
                self._running.pop(future)
                return outcome
            # The worker that held the result is gone, and the scheduler has it made again.
            future.add_done_callback(self._ended.put)
        return None

    def _check_workers(self) -> None:
        """Give up when the cluster has had no worker for a while; those of a local one are started anew by then."""
        if self._client.nthreads():
            self._bare_since_s = None
        elif self._bare_since_s is None:
            self._bare_since_s = time.monotonic()
        elif time.monotonic() - self._bare_since_s > _NO_WORKER_S:
            raise ClusterError(
                "no worker is left on the cluster", "start some, then run the same command again; it goes on"
            )

    def drop(self) -> None:
        """Take back what no worker has begun."""
        if self._running and self._client.status in _LIVE:
            self._client.cancel(list(self._running), force=True)
        self._running.clear()

    def _outcome(self, future: Future[Any]) -> Outcome | None:
        """Return how a task ended; None where it has not, since its result was lost."""
        from distributed.scheduler import KilledWorker

        label = self._running[future]
        if future.status in ("lost", "pending"):
            return None
        if future.status == "finished":
            try:
                return Outcome(label, future.result(timeout=_FETCH_S))
            except (TimeoutError, KilledWorker):
                return None
        if future.status != "error":
            raise ClusterError("the cluster dropped what was worked on", "run the same command again; it goes on")
        return Outcome(label, error=_named(future.exception()))


def _named(error: BaseException) -> MobilescopeError:
    from distributed.scheduler import KilledWorker

    if isinstance(error, MobilescopeError):
        return error
    if isinstance(error, KilledWorker):
        return ClusterError("every worker that tried it died", "look into the workers' logs and memory")
    return ClusterError(f"{type(error).__name__}: {error}", "this is a fault of the program; the rest went on")


@contextmanager
def opened_cluster(address: str, workers: int | None, tell: Callable[[str], None]) -> Iterator[Crowd]:
    """Connect to a scheduler, or start a cluster on this machine, and say where its dashboard is.

    Raises
    ------
    UserError
        dask.distributed is not installed, or the address is none.
    ClusterError
        The scheduler can't be reached, or it has no workers.
    """
    if find_spec("distributed") is None:
        raise UserError("dask.distributed is not installed", "pip install 'mobilescope[scale]'")
    from distributed import Client

    # What goes wrong is told by the outcomes; the library's own log is for its developers.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        if address == LOCAL:
            place = stack.enter_context(_local(workers))
        else:
            place = address
            if workers is not None:
                raise UserError("--workers is for a local cluster", f"start workers of {address} with 'dask worker'")
            _check_address(address)
        try:
            client = stack.enter_context(Client(place, timeout=_CONNECT_S, set_as_default=False))
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise ClusterError(
                f"no dask scheduler answers at {address} ({error})", "check the address, or start 'dask scheduler'"
            ) from error
        try:
            client.wait_for_workers(1, timeout=_NO_WORKER_S)
        except TimeoutError as error:
            raise ClusterError(f"the cluster at {address} has no workers", "start 'dask worker ADDRESS'") from error
        count = len(client.nthreads())
        shown = client.dashboard_link if find_spec("bokeh") else "none (install bokeh)"
        tell(f"cluster: {count} worker{'s' * (count != 1)} at {client.scheduler.address}, dashboard: {shown}")
        crowd = Crowd(client)
        try:
            yield crowd
        finally:
            crowd.drop()


def _check_address(address: str) -> None:
    """Refuse what can't be an address, over which dask's client stumbles for half a minute and ends in a traceback."""
    from distributed.comm.addressing import get_address_host_port

    try:
        get_address_host_port(address, strict=False)
    except ValueError as error:
        raise UserError(
            f"{address!r} is no scheduler's address ({error})", f"write it as tcp://host:8786, or {LOCAL}"
        ) from error


@contextmanager
def _local(workers: int | None) -> Iterator[Any]:
    """Start workers of one thread each, on the loopback alone."""
    from distributed import LocalCluster

    # Workers are started, and started anew, by a thread that is made here.
    with starting_workers():
        cluster = LocalCluster(
            n_workers=workers or os.cpu_count() or 1, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
        )
    with cluster:
        yield cluster
