"""Work that would hold up an event loop, done in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def offload(work: Callable[[], T], name: str) -> T:
    """``work()`` in a daemon thread called ``name``; its result or exception.

    Unlike an executor's, the thread does not hold up the exit of the process when ``work`` takes long.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (handed to the awaiter)
            tell(answer.set_exception, error)
        else:
            tell(answer.set_result, result)

    def tell(setter: Callable[..., None], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has stopped meanwhile
            loop.call_soon_threadsafe(lambda: None if answer.done() else setter(value))

    threading.Thread(target=run, name=name, daemon=True).start()
    return await answer
