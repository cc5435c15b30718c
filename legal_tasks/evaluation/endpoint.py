"""Answers of any OpenAI-compatible endpoint: of the served model instead of its weights, and of a judge.

Keys come from the environment, never from settings: what a step is given is kept with its artifact. Answers are greedy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from legal_tasks.settings import SettingsError, policy
from legal_tasks.step import StepError

Chat = list[dict[str, str]]  # {role, content} each
RETRIES = 3  # of a request that met a full queue or a broken connection; the client waits longer each time


@dataclass(frozen=True)
class Answer:
    """`ended`: the model came to an end by itself, before the bound on its tokens."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Endpoint:
    """Where to ask. `url` ends before /chat/completions; `key_name`: the environment variable that holds the key."""

    url: str
    model: str
    key_name: str = "LEXLOOP_ENDPOINT_API_KEY"
    together: int = 8  # requests at a time
    timeout_s: float = 120.0

    def ask(self, chats: Sequence[Chat], max_tokens: int, tell: Callable[[int, int], None] | None = None) -> list[Answer]:
        """One answer per chat, in order; `tell(done, total)` follows. StepError where the endpoint does not answer."""
        import openai

        done, key = 0, os.environ.get(self.key_name)
        if key:
            try:
                policy.check_host(self.key_name, self.url)
            except SettingsError as error:
                raise StepError(str(error)) from error
        with openai.OpenAI(base_url=self.url, api_key=key or "none", max_retries=RETRIES, timeout=self.timeout_s) as client:

            def one(chat: Chat) -> Answer:
                messages: Any = list(chat)
                said = client.chat.completions.create(model=self.model, messages=messages, max_tokens=max_tokens, temperature=0)
                choice = said.choices[0]
                return Answer(choice.message.content or "", choice.finish_reason != "length")

            pool, answers = ThreadPoolExecutor(self.together), []
            try:
                for answer in pool.map(one, chats):
                    answers.append(answer)
                    done += 1
                    if tell:
                        tell(done, len(chats))
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise StepError(f"{self.url} refuses the key in {self.key_name}: set it to one that is let in") from error
            except openai.OpenAIError as error:
                raise StepError(f"{self.url} did not answer for the model {self.model!r}: {error}; is it up?") from error
            finally:
                pool.shutdown(cancel_futures=True)
        return answers


def check_url(option: str, url: str, model: str, model_option: str) -> None:
    """StepError where an endpoint is named half, or not by its address."""
    if url and not url.startswith(("http://", "https://")):
        raise StepError(f"{option} must be an address such as http://127.0.0.1:8080/v1, got {url!r}")
    if bool(url) != bool(model):
        raise StepError(f"{option} and {model_option} belong together: name the endpoint and the model that it serves")


def as_lm(endpoint: Endpoint, unfinished: set[tuple[str, int]], tell: Callable[[int, int], None] | None = None) -> Any:
    """The endpoint as an lm-eval model that can only generate; the chat template is the server's.

    `unfinished` gets (task, item number) of the answers that reached their bound.
    """
    from lm_eval.api.model import LM
    from lm_eval.models.utils import postprocess_generated_text

    class EndpointLM(LM):
        @property
        def tokenizer_name(self) -> str:
            return endpoint.model.replace("/", "__")

        def chat_template(self, chat_template: bool | str = False) -> str:
            return ""

        def apply_chat_template(self, chat_history: Chat, add_generation_prompt: bool = True) -> str:
            return json.dumps(chat_history, ensure_ascii=False)

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            found = [""] * len(requests)
            for bound in sorted({int(request.args[1]["max_gen_toks"]) for request in requests}):
                chosen = [number for number, request in enumerate(requests) if int(request.args[1]["max_gen_toks"]) == bound]
                answers = endpoint.ask([json.loads(requests[number].args[0]) for number in chosen], bound, tell)
                for number, answer in zip(chosen, answers, strict=True):
                    until = requests[number].args[1].get("until") or []
                    found[number] = postprocess_generated_text(answer.text, [until] if isinstance(until, str) else until, None)
                    if not answer.ended and found[number] == answer.text:
                        unfinished.add((requests[number].task_name, requests[number].doc_id))
            return found

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            raise StepError("an endpoint gives no likelihoods: suites answered by letters or option texts need the weights")

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return self.loglikelihood(requests)

    return EndpointLM()
