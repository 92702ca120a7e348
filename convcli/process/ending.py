"""Signals that end the process: at once while there is nothing to end in order, in order once files are being written.

Python runs a handler between two of its own steps, so that one long call of compiled code delays it. Where the main
thread may be within such a call, another thread waits for signals too (:func:`watch`); whatever it was that took too
long, the process ends with exit code 130, without a traceback, and removes its unfinished files.

Few modules are imported, here and at the top of ``convcli``: a signal that comes before :func:`catch` is a traceback.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # as type checkers know it; the module typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread
    from types import FrameType
    from typing import NoReturn

#: Exit code after Ctrl-C (128 + SIGINT).
EXIT_INTERRUPTED = 130
#: Signals of a terminal, which all processes of a batch get: its children leave them to their parent.
OF_TERMINAL = tuple(getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
_OTHERS = ("TERM", "USR1", "USR2", "XCPU", "ALRM", "VTALRM", "PROF", "POLL", "PWR", "STKFLT")
#: Signals that end a process which does not catch them, and are not of its own faults.
SIGNALS = (*OF_TERMINAL, *(getattr(signal, f"SIG{name}") for name in _OTHERS if hasattr(signal, f"SIG{name}")))
#: How long strips and children that are under way may take to end in order, in seconds.
GRACE_S = 0.5

_asked: list[int] = []
_cleanups: list[Callable[[], object]] = []
_last_words: list[tuple[int, bytes]] = []
_watching: list[tuple[Thread, int]] = []


def catch(answer: bytes = b"") -> None:
    """Let every signal of :data:`SIGNALS` end the process at once, from now on; one that is ignored stays so.

    Parameters
    ----------
    answer : bytes
        Text for standard output in that case.
    """
    _last_words[:] = [(1, answer), (2, b"convcli: interrupted\n")]
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


def in_order() -> None:
    """Let the first signal raise ``KeyboardInterrupt`` from now on; the process ends at the latest soon after it."""
    for number in SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, _interrupt)


def at_end(clean: Callable[[], object]) -> None:
    """Call ``clean`` where a signal ends the process, in any thread, perhaps twice, after those given before."""
    _cleanups.append(clean)


def no_more(clean: Callable[[], object]) -> None:
    """Forget what was given to :func:`at_end`."""
    _cleanups.remove(clean)


def was_asked() -> bool:
    """Return whether a signal has asked the process to end."""
    return bool(_asked)


def watch() -> None:
    """Wait for signals in a thread too, if the system starts one: for a main thread that computes by itself."""
    from threading import Thread

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait() -> None:
        # One byte a signal, which the system writes at once, whatever Python is doing.
        while number := os.read(reading, 1)[0]:
            if number in SIGNALS:
                _end_late()

    thread = Thread(target=wait, name="signals", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        signal.set_wakeup_fd(-1)
        return
    _watching.append((thread, writing))


def unwatch() -> None:
    """End the thread of :func:`watch`, for a process that forks."""
    for thread, writing in _watching:
        signal.set_wakeup_fd(-1)
        os.write(writing, b"\0")
        thread.join()
    _watching.clear()


def clean_up() -> None:
    """Remove what an ended run has left."""
    for clean in tuple(_cleanups):
        try:
            clean()
        except Exception:  # noqa: BLE001 - the others have something to remove as well
            continue


def _end(number: int = 0, _frame: FrameType | None = None) -> NoReturn:
    _asked.append(number)
    for descriptor, words in _last_words:
        try:
            os.write(descriptor, words)
        except OSError:
            continue
    clean_up()
    os._exit(EXIT_INTERRUPTED)


def _end_late() -> NoReturn:
    """Give the main thread time to end in order; it takes the process with it if it does."""
    from time import sleep

    sleep(GRACE_S + 0.25)  # children are given the first part of it
    _end()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _asked.append(number)
    # A second signal would interrupt the clean-up.
    if len(_asked) > 1:
        return
    if not _watching:
        from contextlib import suppress
        from threading import Thread

        with suppress(RuntimeError):
            Thread(target=_end_late, name="late end", daemon=True).start()
    raise KeyboardInterrupt
