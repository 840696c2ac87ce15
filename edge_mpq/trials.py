"""Many independent trials at once: on the cores of this machine, or on a cluster.

joblib runs them: its own processes here (loky), or a cluster of dask or ray.  The results
come in the order of the items, so that what is made of them does not depend on who was first.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from edge_mpq.errors import EdgeMpqError, UsageError
from edge_mpq.progress import Progress, silent

Item = TypeVar("Item")
Result = TypeVar("Result")
FORMS = "give dask://host:port or ray://host:port"
SHOWN = 80
CONNECT_S = 10


def run(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int = 1,
    cluster: str | None = None,
    progress: Progress = silent,
    what: str = "trials",
) -> list[Result]:
    """``function`` of every item, in the order of ``items``.

    workers: processes on this machine; 1 runs the trials here, one after another.
    cluster: ``dask://host:port`` or ``ray://host:port``, whose workers then do it; they need
    this package.  An error of a trial ends the run and names the trial: an EdgeMpqError as one
    of its own kind, any other as RuntimeError with its cause.  Raises UsageError for a cluster
    that cannot be reached.
    """
    if cluster is None and workers == 1:
        return [_named(function, index, item) for index, item in enumerate(progress(items, what, len(items)))]
    if workers < 1:
        raise UsageError(f"{workers} workers were asked", "give 1 or more")
    import joblib

    calls = (joblib.delayed(_named)(function, index, item) for index, item in enumerate(items))
    if cluster is None:
        # A generator, so that progress sees results as they come; joblib keeps their order.
        return list(progress(joblib.Parallel(workers, "loky", return_as="generator")(calls), what, len(items)))
    with _joined(cluster) as return_as:
        return list(progress(joblib.Parallel(-1, return_as=return_as)(calls), what, len(items)))


def _named(function: Callable[[Item], Result], index: int, item: Item) -> Result:
    """One trial, whose error says which it was."""
    shown = repr(item)
    trial = f"trial {index} ({shown if len(shown) <= SHOWN else shown[:SHOWN] + ' ...'})"
    try:
        return function(item)
    except EdgeMpqError as error:
        raise type(error)(f"{trial}: {error.what}", error.mend) from error
    except Exception as error:
        raise RuntimeError(f"{trial}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _joined(cluster: str) -> Iterator[str]:
    """joblib's trials go to ``cluster`` inside; yields in what form its results come back."""
    scheme, _, address = cluster.partition("://")
    if scheme not in _CLUSTERS or not address:
        raise UsageError(f"{cluster!r} is no cluster", FORMS)
    with contextlib.ExitStack() as stack:
        try:
            return_as = stack.enter_context(_CLUSTERS[scheme](address))
        except ImportError as error:
            raise UsageError(f"{cluster} needs {error.name}, which is not here", _INSTALL[scheme]) from error
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot reach {cluster} ({error})", "is its scheduler running, its port open?") from error
        yield return_as


@contextlib.contextmanager
def _dask(address: str) -> Iterator[str]:
    import joblib
    from distributed import Client

    with Client("tcp://" + address, timeout=CONNECT_S, set_as_default=False) as client:
        with joblib.parallel_config("dask", client=client):
            yield "generator"


@contextlib.contextmanager
def _ray(address: str) -> Iterator[str]:
    import joblib
    import ray
    from ray.util.joblib import register_ray

    with ray.init("ray://" + address):
        register_ray()
        with joblib.parallel_config("ray"):
            yield "list"  # ray's pool gives nothing until it has all


_CLUSTERS = {"dask": _dask, "ray": _ray}
_INSTALL = {"dask": "pip install edge-mpq[cluster]", "ray": "pip install ray"}
