"""When a failed step is tried again: not where the caller must mend something first."""

from __future__ import annotations

import re
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy


class StepRetry(RetryPolicy):
    """Exit code 2 means that the same call fails the same way until somebody mends its cause; all else is tried again."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        if re.search(r"exit code 2\b", str(exception)):
            return RetryDecision.fail("the caller must mend it first: see the last lines of the log")
        return RetryDecision.default()
