"""Making the next item in a second thread while one is used, so that neither waits for the other's work.

Reading and judging on one core, the database on the other. The items must be made without the database: a connection
belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Queue
from threading import Event, Thread
from typing import Any, TypeVar

_Item = TypeVar("_Item")


def ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items in order, the next one being made by a second thread; what it raises is raised here."""
    queue: Queue[tuple[bool, Any]] = Queue(maxsize=1)
    stopped = Event()

    def produce() -> None:
        try:
            for item in items:
                queue.put((True, item))
                if stopped.is_set():
                    return
            queue.put((False, None))
        except BaseException as error:  # handed to the consumer, which raises it
            queue.put((False, error))

    thread = Thread(target=produce, name="edupulse-ahead", daemon=True)
    thread.start()
    try:
        while True:
            going_on, item = queue.get()
            if not going_on:
                if item is not None:
                    raise item
                return
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            if not queue.empty():
                queue.get_nowait()
            thread.join(0.01)
