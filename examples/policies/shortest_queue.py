"""Shortest queue: the worker that reports the fewest waiting requests."""

import sgl_router


@sgl_router.register_policy
class FewestWaiting(sgl_router.Policy):
    """Fewest requests waiting, then fewest in flight."""

    def select(self, request, workers):
        def waiting(worker):
            return worker.in_flight if worker.queue_length is None else worker.queue_length

        return min(workers, key=lambda worker: (waiting(worker), worker.in_flight))
