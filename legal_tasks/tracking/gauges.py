"""The machine while a step works: MLflow's own system metrics, told through the journal, so that no outage costs any.

MLflow's monitor writes to the server itself and gives up where that is away; its gauges alone are used here. What cannot be
measured (no psutil, no card) is left out and costs the step nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

INTERVAL_S = 10.0
SELDOM_AFTER, SELDOM = 360, 6  # after an hour a sixth as often: a journal is kept in memory


def interval_s() -> float:
    """Seconds between two looks; MLflow's own variable sets them."""
    return float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or INTERVAL_S)


class Gauges:
    """A thread that looks at processor, memory, disk, network and cards until `stop`; `tell` gets {metric: value} and a step."""

    def __init__(self, tell: Callable[[Mapping[str, float], int], None], first: int = 0):
        self.tell, self.step = tell, first
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._work, name="gauges", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        with self.lock:  # nothing is told afterwards
            self.stopped.set()

    def _work(self) -> None:
        try:
            monitors = find_monitors()
        except ImportError as error:
            print(f"no system metrics: {error}", flush=True)
            return
        pause, began = interval_s(), self.step
        while not self.stopped.is_set():
            try:
                values = read(monitors)
            except (OSError, RuntimeError) as error:
                print(f"no system metrics from here on: {type(error).__name__}: {error}", flush=True)
                return
            with self.lock:
                if self.stopped.is_set():
                    return
                self.tell({f"system/{name}": value for name, value in values.items()}, self.step)
            self.step += 1
            self.stopped.wait(pause * (SELDOM if self.step - began > SELDOM_AFTER else 1))


def find_monitors() -> list[Any]:
    """MLflow's gauges that work on this machine. ImportError without psutil or MLflow."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    found: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        found.append(GPUMonitor())
    except (ImportError, RuntimeError):
        pass  # no card, or nobody to ask about it
    return found


def read(monitors: list[Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values |= {name: float(value) for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return values
