"""When a failed step is tried again: not where the caller must mend something first."""

from __future__ import annotations

import re
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

# As Bash's, Docker's and Kubernetes' operators tell it.
MEND_FIRST = re.compile(r"exit code 2\b|'StatusCode': 2\b|'exit_code': 2\b")


class StepRetry(RetryPolicy):
    """Exit code 2 means that the same call fails the same way until somebody mends its cause; all else is tried again."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        if MEND_FIRST.search(str(exception)):
            return RetryDecision.fail("the caller must mend it first: see the last lines of the log")
        return RetryDecision.default()
