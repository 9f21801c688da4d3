"""Blank patches looked for on a cluster, many pair files at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mobilescope.app.datasets.blank_patches import FilePatches, Thin, ThinJob, thin_file
from mobilescope.app.pairs.cluster import opened_cluster
from mobilescope.core.errors import ClusterError, UserError
from mobilescope.core.progress import StopToken


@contextmanager
def thinning_on(
    address: str | None, workers: int | None, *, stop: StopToken, tell: Callable[[str], None]
) -> Iterator[Thin | None]:
    """Give what looks for blank patches on a cluster; None without one, which means here, file by file."""
    if address is None:
        if workers is not None:
            raise UserError("--workers is for a cluster", "give --cluster local too")
        yield None
        return
    with opened_cluster(address, workers, tell) as crowd:
        def thin(jobs: list[ThinJob]) -> Iterator[FilePatches]:
            found: dict[int, FilePatches] = {}
            waiting = iter(enumerate(jobs))
            given = 0
            for number in range(len(jobs)):
                while number not in found:
                    while given < len(jobs) and crowd.has_room:
                        place, (path, slides, plan) = next(waiting)
                        crowd.submit(place, thin_file, path.absolute(), slides, plan)
                        given += 1
                    outcome = crowd.next_ended(stop, "the dataset")
                    if outcome is None:
                        raise ClusterError("the cluster lost a task", "run the same command again")
                    if outcome.error is not None:
                        raise outcome.error
                    found[outcome.label] = outcome.value
                yield found.pop(number)

        yield thin
