"""Gradient: the worker whose responses sped up most, with unknown workers first."""

from collections import defaultdict, deque
from statistics import mean

import sgl_router


@sgl_router.register_policy
class Gradient(sgl_router.Policy):
    """Largest recent increase in tokens per second, then fewest in flight."""

    def __init__(self, window: int = 20):
        self.speeds = defaultdict(lambda: deque(maxlen=window))

    def observe(self, event):
        if event.kind == "finished" and event.output_tokens:
            self.speeds[event.worker].append(event.output_tokens / event.latency)

    def select(self, request, workers):
        return max(workers, key=lambda worker: (self.change(worker), -worker.in_flight))

    def change(self, worker):
        speeds = list(self.speeds[worker.url])
        half = len(speeds) // 2
        return mean(speeds[half:]) - mean(speeds[:half]) if half else float("inf")
