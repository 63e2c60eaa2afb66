"""Softmin, with numpy: random, with probabilities that fall with the load."""

import numpy as np
import sgl_router


@sgl_router.register_policy
class Softmin(sgl_router.Policy):
    """Random; each further request in flight divides a worker's probability by e^(1 / temperature)."""

    def __init__(self, temperature: float = 1.0):
        self.temperature = temperature

    def select(self, request, workers):
        load = np.array([worker.next_load for worker in workers])
        up_to = np.cumsum(np.exp((load.min() - load) / self.temperature))
        return np.searchsorted(up_to / up_to[-1], request.random(), side="right"), load
