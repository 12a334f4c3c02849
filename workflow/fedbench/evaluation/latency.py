"""Response latency: milliseconds a request at batch 1, after warm-up, tokenising included (GSFS Table II)."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WARM_UP = 3


def measure(answer: Callable[[Any], object], requests: Sequence[Any], count: int) -> dict[str, float | int]:
    """Time `answer` on `count` requests, cycling through `requests`; returns median, p95 (ms) and the count."""
    if not requests:
        raise ValueError("latency needs at least one request")
    for k in range(WARM_UP):
        answer(requests[k % len(requests)])
    times = []
    for k in range(count):
        begun = time.perf_counter()
        answer(requests[k % len(requests)])
        times.append((time.perf_counter() - begun) * 1e3)
    return {"median": float(np.median(times)), "p95": float(np.percentile(times, 95)), "requests": count}
