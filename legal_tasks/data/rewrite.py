"""Let a model say answers more clearly, through any OpenAI-compatible endpoint; what it says is held to the same rules.

Off unless data.clean.rewrite_url names an endpoint. Only masked records are sent. A new answer is taken if it breaks no rule of
data.clean, cites the same articles, holds the same numbers and pseudonyms and no personal data; else the old one stays, and
the report counts why. Answers are remembered by model, prompt and record, so that a second run asks nothing and gives the
same bytes. The key comes from LEXLOOP_REWRITE_KEY, else from `rewrite.key` in the var folder, and is never printed.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from legal_tasks.data import numerals, statutes
from legal_tasks.data.memory import Memory
from legal_tasks.data.scan import scan
from legal_tasks.records import Record
from legal_tasks.settings import SettingsError, policy
from legal_tasks.step import StepError, progress, var_folder

if TYPE_CHECKING:
    import httpx

KEY, KEY_FILE = "LEXLOOP_REWRITE_KEY", "rewrite.key"
PROMPT = (
    "请把下面的回答改写得更清楚、更有条理。不得改变法律含义；法律名称、条文序号、引文、数字、日期和【】中的代号必须原样保留，"
    "不得增加新的法律依据或事实。只输出改写后的回答。"
)
WINDOW = 64  # records that are asked about or waited for at once
TRIES, PAUSE_S, LONGEST_PAUSE_S = 5, 1.0, 60.0
PSEUDONYM = re.compile(r"【[^【】]{1,12}】|[\u4e00-\u9fff]某\d+")


@dataclass(frozen=True)
class Endpoint:
    """`url`: what stands before /chat/completions; `parallel`: requests at once."""

    url: str
    model: str
    timeout_s: float = 60.0
    parallel: int = 8

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise StepError(
                "data.clean.rewrite_url must be http(s)://host[:port]/v1 without a name or password in it; "
                f"the key belongs into {KEY}"
            )
        if not self.model:
            raise StepError("data.clean.rewrite_model is needed with data.clean.rewrite_url: the model's name at the endpoint")
        if self.parallel < 1 or self.timeout_s <= 0:
            raise StepError("data.clean.rewrite_parallel must be 1 or more, data.clean.rewrite_timeout_s above 0")


def bind(key: str, url: str) -> None:
    """StepError where a DAG run would send a key to another host than the installation's profile names for it."""
    try:
        policy.check_host(key, url)
    except SettingsError as error:
        raise StepError(str(error)) from error


def read_key() -> str:
    """The key, or "" for an endpoint without one; StepError if others may read its file."""
    if os.environ.get(KEY):
        return os.environ[KEY].strip()
    path = var_folder() / KEY_FILE
    if not path.is_file():
        return ""
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StepError(f"{path} can be read by others: chmod 600 {path}")
    return path.read_text("utf-8").strip()


def ask(client: httpx.Client, endpoint: Endpoint, question: str, answer: str) -> str:
    """The model's new answer; "" where it refuses this one. StepError where the endpoint or the key is not right."""
    import httpx

    asked = f"问题：\n{question}\n\n回答：\n{answer}"
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": asked}]
    body = {"model": endpoint.model, "messages": messages, "temperature": 0}
    said = ""
    for number in range(TRIES):
        try:
            response = client.post("chat/completions", json=body)
        except httpx.TransportError as error:
            said = type(error).__name__
        else:
            if response.status_code in (401, 403, 404):
                raise StepError(
                    f"data.clean.rewrite_url {endpoint.url} answered {response.status_code}: look at the address, at "
                    f"data.clean.rewrite_model={endpoint.model} and at the key ({KEY})"
                )
            if response.status_code < 300:
                return _content(response, endpoint)
            if response.status_code not in (408, 409, 425, 429) and response.status_code < 500:
                return ""  # this record is too long, or filtered
            said = str(response.status_code)
            wanted = response.headers.get("retry-after", "")
            if wanted.isdigit() and number + 1 < TRIES:
                time.sleep(min(float(wanted), LONGEST_PAUSE_S))
                continue
        if number + 1 < TRIES:
            time.sleep(min(PAUSE_S * 2**number, LONGEST_PAUSE_S))
    raise StepError(
        f"data.clean.rewrite_url {endpoint.url} gave no answer in {TRIES} tries (the last: {said}): see that it runs, lower "
        "data.clean.rewrite_parallel, or leave data.clean.rewrite_url out; what was answered is remembered"
    )


def _content(response: httpx.Response, endpoint: Endpoint) -> str:
    """The answer's text without a part in which the model thinks; "" for one that was cut off."""
    try:
        choice = response.json()["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError) as error:
        raise StepError(
            f"data.clean.rewrite_url {endpoint.url} does not answer as OpenAI's chat completions do ({type(error).__name__}); "
            "name the part of the address before /chat/completions"
        ) from error
    if reason == "length" or not isinstance(text, str):
        return ""
    return re.sub(r"(?s)\A\s*<think>.*?</think>", "", text).strip()


class Rewriter:
    """Records with better answers where the model has any. `fault`: the first rule that a record breaks, or "".

    `counts`: {asked, rewritten, and per reason how many answers were not taken}.
    """

    def __init__(self, endpoint: Endpoint, categories: Iterable[str], fault: Callable[[Record], str], memory: Memory) -> None:
        self.endpoint, self.categories, self.fault, self.memory = endpoint, set(categories), fault, memory
        prompt = hashlib.sha256(PROMPT.encode()).hexdigest()[:16]
        self.context = f"rewrite {endpoint.model} {prompt}"
        self.counts: Counter[str] = Counter()

    def __call__(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records in their order."""
        import httpx

        key = read_key()
        if key:
            bind(KEY, self.endpoint.url)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        base = self.endpoint.url.rstrip("/") + "/"
        waiting = iter(records)
        with (
            httpx.Client(base_url=base, headers=headers, timeout=self.endpoint.timeout_s, trust_env=False) as client,
            ThreadPoolExecutor(self.endpoint.parallel) as pool,
        ):
            while window := list(itertools.islice(waiting, WINDOW)):
                asked = [self._start(record, client, pool) for record in window]
                for record, future in zip(window, asked, strict=True):
                    yield record if record.category not in self.categories else self._finish(record, future)
                progress(self.counts["asked"], self.counts["asked"], stage="rewrite", rewritten=self.counts["rewritten"])

    def _start(self, record: Record, client: httpx.Client, pool: ThreadPoolExecutor) -> Future[str] | None:
        if record.category not in self.categories or self.memory.knows(*self._named(record)):
            return None
        return pool.submit(ask, client, self.endpoint, record.instruction + "\n" + record.input, record.output)

    def _named(self, record: Record) -> tuple[str, str, Any]:
        return record.provenance["parent"], self.context, [record.history, record.instruction, record.input, record.output]

    def _finish(self, record: Record, future: Future[str] | None) -> Record:
        self.counts["asked"] += 1
        answer = self.memory.recall(*self._named(record), lambda: future.result() if future else "")
        changed = replace(record, output=answer or record.output)
        why = "no answer" if not answer else differs(record.output, answer) or self.fault(changed)
        self.counts[why or "rewritten"] += 1
        if why:
            return record
        changed.provenance = record.provenance | {"rewritten": self.endpoint.model}
        return changed


def differs(old: str, new: str) -> str:
    """What the new answer may not change and did: citations, numbers, pseudonyms, personal data; "" for nothing."""
    cited = [sorted({one[:2] for one in statutes.citations(text)}) for text in (old, new)]
    if cited[0] != cited[1]:
        return "other citations"
    if _numbers(old) != _numbers(new):
        return "other numbers"
    if set(PSEUDONYM.findall(old)) != set(PSEUDONYM.findall(new)):
        return "other pseudonyms"
    return "personal data" if scan(new) else ""


def _numbers(text: str) -> set[int]:
    """The numbers that stand with a unit, in Chinese or Arabic digits."""
    found = re.findall(rf"({numerals.NUMBER})个?(?=[年月日天条款项元万亿周岁%％倍]|小时|工作日)", text)
    return {number for number in map(numerals.to_number, found) if number}
