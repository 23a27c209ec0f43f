"""A Dask scheduler and its workers: the only file that imports Dask (the extra ``cluster``)."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from medlsam.errors import MedlsamError, UsageError, WorkerError
from medlsam.parallel import LOCAL
from medlsam.parallel.attempts import TRIES, Begun

Item = TypeVar("Item")
Result = TypeVar("Result")

# Dask gives a task up when workers died that had only queued it; then it is submitted again, at most so often.
_SUBMISSIONS = 10
# Tasks that lie with the scheduler for each thread of its workers: none waits for us, and few go over the wire early.
_AHEAD = 3
# But at least so many: workers that come while items take long find something to do.
_LEAST = 32
# Seconds after which it is looked whether a worker that is asked something is still there.
_LOOK_AGAIN = 2.0
# What Dask sets for its workers makes the C library give memory back at once: networks ran at half of their rate.
_ENVIRONMENT = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
# Run by local workers. Ctrl-C reaches all processes of a terminal; the first one ends the others, without their traces.
_PRELOAD = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
_log = logging.getLogger(__name__)


@contextmanager
def connected(scheduler: str, jobs: int) -> Iterator[Cluster]:
    """Be connected to a scheduler while the block runs, or to one that is started with its workers on this machine.

    Args:
        scheduler: its address, or ``local``.
        jobs: the workers of a local one.

    Raises:
        UsageError: Dask is not installed, or no scheduler answers.
    """
    distributed, dask = _dask()
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler == LOCAL:
            stack.enter_context(dask.config.set(_ENVIRONMENT))
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=jobs,
                    threads_per_worker=1,
                    processes=True,
                    # Any free port: the usual one may be taken, and nobody asked for it.
                    dashboard_address=":0",
                    # Dask would kill a worker that holds its share; a large scan may take more than that.
                    memory_limit=None,
                    preload=[_PRELOAD],
                    silence_logs=logging.CRITICAL,
                )
            )
        try:
            client = distributed.Client(address, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"scheduler {scheduler}: no Dask scheduler answers there ({error}); start one with "
                "`dask scheduler` and workers with `dask worker ADDRESS`"
            ) from error
        yield Cluster(distributed, stack.enter_context(client))


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
    except ImportError as error:
        raise UsageError(
            f"a scheduler needs Dask ({error}); install it with: pip install 'medlsam[cluster]'"
        ) from error
    return distributed, dask


def _cut_off() -> WorkerError:
    return WorkerError(
        "the scheduler is gone, or its client was cut off; what is finished is on record, and the same command goes "
        "on from there"
    )


class Cluster:
    """A scheduler that answers.

    Args:
        distributed: Dask's module.
        client: its client.
    """

    def __init__(self, distributed: Any, client: Any) -> None:
        self._distributed = distributed
        self._client = client
        self._threads = 1

    def ask_all(self, key: str, doing: str, question: Callable[..., object], *arguments: Any) -> None:
        """Let every worker that is there answer a question; later ones have to ask themselves at their first item.

        Args:
            key: names the question; another one for each run.
            doing: what a worker is at meanwhile, in the past tense, should it die of that.
            question: a function of a module that raises where a worker cannot do the work.
            arguments: of the function.

        Raises:
            MedlsamError: what a worker raised, with its address.
            WorkerError: it raised something else, or died.
        """
        workers = list(self._client.nthreads())
        if not workers:
            _log.warning("the cluster has no workers yet; the scans wait for the first one")
        futures = {
            worker: self._client.submit(question, *arguments, workers=[worker], key=f"{key}-{worker}")
            for worker in workers
        }
        for worker, future in futures.items():
            error = self._error(worker, doing, future)
            if isinstance(error, MedlsamError):
                raise type(error)(f"worker {worker}: {error}") from error
            if error is not None:
                raise WorkerError(
                    f"worker {worker}: {type(error).__name__}: {error}; workers need the same medlsam and the "
                    "same Python packages as the process that starts the run"
                ) from error

    def _error(self, worker: str, doing: str, future: Any) -> BaseException | None:
        """What a worker's own task raised; nobody else may do it, so if it dies it would be waited for for ever."""
        while True:
            try:
                error: BaseException | None = future.exception(timeout=_LOOK_AGAIN)
                return error
            except TimeoutError:
                if worker not in self._client.nthreads():
                    raise WorkerError(
                        f"worker {worker} died while it {doing}; often the memory does not suffice: "
                        "let fewer workers share a machine"
                    ) from None

    def run(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        name: Callable[[Item], str],
        begun: Begun,
        retries: int = 0,
    ) -> Iterator[tuple[Item, Result | Exception | None]]:
        """Have all items worked on, in any order.

        Args:
            work: a function of a module, or a ``partial`` of one; it leaves word in ``begun``, and does not begin with
                what ``TRIES`` workers died over.
            items: what to work on.
            name: an item's own name in ``begun``.
            begun: in a folder of this run.
            retries: what raises is tried again so often.

        Yields:
            Each item with its result; or with what it raised; or with None where its workers died.

        Raises:
            WorkerError: the scheduler is gone.
        """
        submissions = Counter[str]()
        waiting = deque(items)
        futures: dict[Any, Item] = {}
        ended = self._distributed.as_completed([], loop=self._client.loop)

        def submit(item: Item) -> None:
            submissions[name(item)] += 1
            key = f"medlsam-{begun.folder.name}-{name(item)}-{submissions[name(item)]}"
            future = self._client.submit(work, item, key=key, pure=False, retries=retries)
            futures[future] = item
            ended.add(future)

        def hand_out() -> None:
            while waiting and len(futures) < max(_AHEAD * self._threads, _LEAST):
                submit(waiting.popleft())

        try:
            self._count_threads()
            hand_out()
            for future in ended:
                item = futures.pop(future)
                if future.status == "cancelled":
                    raise _cut_off()
                # The next ones first: whoever takes this result may take its time.
                self._count_threads()
                hand_out()
                answer: Result | Exception | None
                try:
                    answer = future.result()
                except self._distributed.KilledWorker:
                    if begun.times(name(item)) < TRIES and submissions[name(item)] < _SUBMISSIONS:
                        # It was only waiting for a worker that died of another item.
                        submit(item)
                        continue
                    answer = None
                except CancelledError as error:  # it was done, but the scheduler went before it was told
                    raise _cut_off() from error
                except Exception as error:
                    if future.status in ("cancelled", "lost"):
                        raise _cut_off() from error
                    answer = error
                yield item, answer
        finally:
            # What has not begun is not begun any more, also after Ctrl-C.
            self._client.cancel(list(futures))

    def _count_threads(self) -> None:
        """See how many there are now: workers come and go."""
        try:
            self._threads = max(1, sum(self._client.nthreads().values()))
        except OSError:  # the scheduler is gone: the tasks will tell
            return
