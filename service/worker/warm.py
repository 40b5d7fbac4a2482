"""Imported once, by the process that a worker's children are forked from: five seconds that each would else take.

It starts no threads and no Ray: both would be broken in a fork.
"""

from __future__ import annotations

from service.importing import collector_paused
from service.processes import die_with_parent

die_with_parent()
with collector_paused():
    # What most jobs come to need, though nothing here does.
    import sklearn.datasets
    import sklearn.preprocessing  # noqa: F401

    import service.engine.work
    import service.worker.child  # noqa: F401
    from service.tracking import preload

    preload()
