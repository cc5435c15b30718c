"""How much of the engine one request, one key and all of them together may have: settings of the installation.

The gateway's njs holds requests to them before they enter the engine's queue (templates/limits.js). What is under way is
counted in answers of a whole context, which is a place among those that an engine writes at the same time: an answer that may be
as long as a quarter of the context, or longer, is one, a shorter one in proportion. A key that has nothing under way is let in
while the total is not reached; any other may have so much that it leaves room for the next: at most a fixed multiple of what is
still free (the dynamic threshold of Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
IEEE/ACM Transactions on Networking 6, 1998). Who is alone gets `key_share` of the total, and n keys that all want more get
equal parts.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from legal_tasks import settings
from legal_tasks.serving.backends import Settings
from legal_tasks.serving.fields import MOST_TOKENS
from legal_tasks.settings.policy import installation
from legal_tasks.step import StepError, build_params

ANSWERS = 4  # of a whole context, that one request may ask for
DEEP = 4  # answers under way for each that an engine writes at the same time
WHOLE = 4  # an answer of a WHOLE-th of the context counts as one of a whole context: by length alone, many would queue
LEAST = 16  # and no answer as less than a LEAST-th: its question is read too
FOLDER = "under_way"  # below the gateway's; where root starts it, a folder of its workers' account below RUNTIME
RUNTIME = Path("/run/lexloop")


@dataclass(frozen=True)
class Params:
    request_tokens: Annotated[
        int | None, "tokens that one request may ask for: n × prompts × max_tokens (default: 4 contexts of the model)"
    ] = None
    total_answers: Annotated[
        int | None, "answers of a whole context that may be under way (default: 4 for each that the engine writes at once)"
    ] = None
    key_share: Annotated[float, "part of that for one key while no other asks, above 0 and below 1"] = 0.2

    def __post_init__(self) -> None:
        for name in ("request_tokens", "total_answers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise StepError(f"serving.limits.{name} must be 1 or more, got {value}; leave it out for the default")
        if not 0 < self.key_share < 1:
            raise StepError(f"serving.limits.key_share must be above 0 and below 1, got {self.key_share}")


@dataclass(frozen=True)
class Limits:
    """Of the engines of a route. `context`: tokens of question and answer; `request`: tokens; `total`: answers."""

    context: int
    request: int
    total: int
    key_share: float

    def script(self, folder: Path) -> dict[str, Any]:
        """As templates/limits.js reads it, which counts in tokens; `folder`: where it keeps what is under way."""
        counted = {"context": self.context, "request": self.request, "total": self.total * self.context}
        return {**counted, "whole": WHOLE, "least": LEAST, "keyShare": self.key_share, "folder": str(folder)}


def read() -> Params:
    """The installation's (`serving.limits` of LEXLOOP_PROFILE); StepError where its profile holds something else."""
    try:
        return build_params(sys.modules[__name__], __name__, {}, installation(), [])
    except settings.SettingsError as error:
        raise StepError(str(error)) from error


def of_engines(params: Params, contexts: Sequence[int | None]) -> Limits:
    """`contexts`: of each engine behind the gateway; of one that says nothing, as long as a request may ask for."""
    context = max((one or MOST_TOKENS for one in contexts), default=MOST_TOKENS)
    total = params.total_answers or DEEP * Settings().max_num_seqs * max(1, len(contexts))
    return Limits(context, params.request_tokens or ANSWERS * context, total, params.key_share)


def folder(root: Path) -> Path:
    """Where the gateway below `root` counts. Its workers can pass through no folder of root's that is closed to others."""
    if os.geteuid() != 0:
        return root / FOLDER
    return RUNTIME / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def sweep(folder: Path, workers: Container[int], account: pwd.struct_passwd | None = None) -> None:
    """Make the folder of what is under way; remove what ended workers have left in it.

    `workers`: those that live; `account`: whose they are and the folder has to be, where they are not of this user.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if account is not None:
        folder.parent.chmod(0o711)
        os.chown(folder, account.pw_uid, account.pw_gid)
    for name in os.listdir(folder):
        worker = name.partition(".")[0]
        if not worker.isdigit() or int(worker) not in workers:
            (folder / name).unlink(missing_ok=True)
