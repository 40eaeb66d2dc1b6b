"""What the component exports: the plugin that the author's module has made, and what is left of Python's surroundings in it.

The component is built without WASI: componentize-py's own runtime would read random numbers in each call, and then each event needs an
instance of its own. So what is printed goes to the log, `random` begins anew with each event, and what has no meaning says so.
"""

import gc
import os
import sys
import time

import laterna
import wit_world


class _Lines:
    """A text file whose lines go to the projection's log."""

    def __init__(self, level: str) -> None:
        self._level, self._begun = level, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            getattr(laterna.log, self._level)(line)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept but a line without its end."""


def _refused(what: str, instead: str):
    def refuse(*_arguments, **_named):
        raise RuntimeError(f"{what}: a rebuild must give the same rows, so there is none here; {instead}")

    return refuse


sys.stdout, sys.stderr = _Lines("info"), _Lines("warn")
for _name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"):
    setattr(time, _name, _refused(f"time.{_name}", "event.timestamp is the event's time"))
os.urandom = _refused("os.urandom", "the module random is seeded with the event's place")


class WitWorld(wit_world.WitWorld):
    def describe(self):
        return laterna.last.describe()

    def apply(self, batch):
        return laterna.last.apply(batch)


if laterna.last is not None and "random" in sys.modules:
    laterna.last._seed = sys.modules["random"].seed

# What lives now lives as long as the component. A collection would only write its marks into all of it, page after page, in each
# instance; and an instance's own cycles end with it.
gc.collect()
gc.freeze()
gc.disable()
