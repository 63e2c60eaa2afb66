"""Epsilon-greedy bandit: the fastest worker so far, and sometimes a random one."""

import sgl_router


@sgl_router.register_policy
class EpsilonGreedy(sgl_router.Policy):
    """Lowest mean latency times load; with a small probability a random worker."""

    def __init__(self, epsilon: float = 0.05, memory: float = 0.9):
        self.epsilon, self.memory, self.latency = epsilon, memory, {}

    def observe(self, event):
        if event.kind == "finished" and event.outcome == "success":
            before = self.latency.get(event.worker, event.latency)
            self.latency[event.worker] = self.memory * before + (1 - self.memory) * event.latency

    def select(self, request, workers):
        costs = [self.latency.get(w.url, 0.0) * w.next_load for w in workers]
        if request.random() < self.epsilon:
            return request.randrange(len(workers)), costs
        return costs.index(min(costs)), costs
