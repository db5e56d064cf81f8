"""One way to more cores: a Dask client, on this machine or of a cluster that exists.

with cluster.client() as client:                              # this machine, a process a core
with cluster.client("tcp://scheduler:8786") as client:        # a cluster, of any size
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmlib import checks, optional


@contextmanager
def client(scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """A Dask client for the length of a block.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running scheduler; without one, processes of this machine, which end with the block.
    workers : int, optional
        Number of processes of this machine; one a core by default. Not to be given with an address.

    Raises
    ------
    ValueError
        If the arguments are at odds, or no scheduler answers at the address.
    ImportError
        Without Dask, saying what to install.
    """
    distributed = optional.load("distributed", "scale", "Several processes")
    if scheduler is not None:
        if workers is not None:
            raise ValueError(f"workers must not be given with scheduler, which has its own; got {workers!r}")
        try:
            _well_formed(scheduler)
            connected = distributed.Client(scheduler, timeout=10, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"scheduler must be the address of a running Dask scheduler, as tcp://host:8786; got {scheduler!r}"
            ) from error
        with connected:
            yield connected
        return
    count = checks.integer("workers", os.cpu_count() if workers is None else workers, least=1, meaning="processes")
    local = distributed.LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,  # a failure is raised; a worker that ends as it says it lives would complain
    )
    with local, distributed.Client(local, set_as_default=False) as connected:
        yield connected


def _well_formed(scheduler: str) -> None:
    """Raise ValueError for an address that Dask cannot read: its client would, but complain again at the exit."""
    from distributed.comm import get_address_host_port, parse_address
    from distributed.comm.registry import get_backend

    get_backend(parse_address(scheduler)[0])
    get_address_host_port(scheduler)
