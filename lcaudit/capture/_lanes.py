"""Several passes at once on the CPU: each lane is a thread with a copy of the network and some groups of the samples.

One pass on all cores leaves them waiting: small convolutions and products do not divide well, and between two of them
one core runs Python. Two passes side by side, each on its share of the cores, have no such gaps. As
``torch.nn.DataParallel`` does, the copies share the parameters' memory and nothing else. Every group of samples belongs
to one lane, so that its sums are formed by one thread, batch after batch.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

#: Samples per pass that a lane must have: with fewer, what is done once a pass outweighs what lanes gain.
LEAST = 16
#: Python's lock lets one lane at a time pass between operations.
MOST = 4

Work, Result = TypeVar("Work"), TypeVar("Result")


def number(device: torch.device, batch_size: int, groups: int) -> int:
    """How many lanes are worth it: 1 off the CPU, and with one thread."""
    if device.type != "cpu":
        return 1
    return max(1, min(MOST, torch.get_num_threads(), batch_size // LEAST, groups))


def copies(module: torch.nn.Module, number: int) -> list[torch.nn.Module]:
    """As many networks that share ``module``'s parameters, itself among them; it alone if it cannot be copied.

    Hooks that somebody hung on it may keep what they saw for later, and copies would share that too.
    """
    if number == 1 or any(_hooked(part) for part in module.modules()):
        return [module]
    try:
        shared = {id(parameter): parameter for parameter in module.parameters()}
        return [module, *(copy.deepcopy(module, dict(shared)) for _ in range(number - 1))]
    except Exception:  # a network may hold anything
        return [module]


def _hooked(part: torch.nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks)


def split(items: Sequence[Work], lanes: int, weight: Callable[[Work], int]) -> list[list[Work]]:
    """``items`` in order, in at most so many runs of nearly one total weight."""
    total, done = sum(map(weight, items)), 0
    parts: list[list[Work]] = [[] for _ in range(lanes)]
    for item in items:
        parts[min(lanes - 1, (2 * done + weight(item)) * lanes // (2 * total))].append(item)
        done += weight(item)
    return [part for part in parts if part]


def run(lanes: Sequence[Callable[[Callable[[], None]], Result]]) -> list[Result]:
    """What each of them returns. Each is called with a function that raises :class:`Stopped` once another has failed.

    Raises:
        Exception: the first that one of them raised; the others stop where they next ask.
    """
    if len(lanes) == 1:
        return [lanes[0](lambda: None)]
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    def one(lane: Callable[[Callable[[], None]], Result]) -> Result:
        try:
            return lane(check)
        except BaseException:
            stop.set()
            raise

    with _pool(len(lanes)) as pool:
        waiting = [pool.submit(one, lane) for lane in lanes]
        try:
            failed = [error for future in waiting if (error := future.exception()) is not None]
        except BaseException:  # an interruption of the thread that waits
            stop.set()
            raise
    for error in failed:
        if not isinstance(error, Stopped):
            raise error
    return [future.result() for future in waiting]


def each(function: Callable[[Work], Result], items: Sequence[Work], lanes: int) -> list[Result]:
    """``function`` of every item, so many at a time."""
    if lanes == 1:
        return list(map(function, items))
    with _pool(lanes) as pool:
        return list(pool.map(function, items))


@contextmanager
def _pool(lanes: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that divide PyTorch's threads among them; all is as before on leaving."""
    threads = torch.get_num_threads()
    # a new thread counts for itself, and setting it in one of them sets what threads begin with
    with ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(max(1, threads // lanes),)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown()
            torch.set_num_threads(threads)


class Stopped(Exception):
    """Another lane has failed."""
