"""What a request may hold: every field that the gateway lets through, with its bounds; any other field is refused.

One table for the gateway (rendered into a file that its njs reads), for docs/serving.md and for the tests. What an engine
knows beside it (templates, adapters, grammars, media, tools) runs programs, reads files or addresses, or holds it up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# How answers were asked for when the model was evaluated: a request that does not say otherwise is answered so.
DEFAULTS: Mapping[str, Any] = {"temperature": 0}
# As OpenAI's interface and vLLM have it; llama.cpp would write on to the end of its context.
COMPLETION_DEFAULTS: Mapping[str, Any] = {**DEFAULTS, "max_tokens": 16}
# The rest of sampling, which changes nothing while the temperature is 0: the same neutral values in every engine.
NEUTRAL: Mapping[str, Any] = {"top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1}
MOST_TOKENS = 16384
TEXT_BYTES = 2 * 2**20  # of a whole request: the gateway's bound of the body


@dataclass(frozen=True)
class Field:
    """A field of a request's body.

    kind: number, integer, boolean, text (`high` characters at most), model, user (taken, not passed on), stop, messages,
    prompt, bias, stream_options or format. `low` and `high` are inclusive unless `above` leaves `low` itself out.
    """

    kind: str
    about: str
    low: float | None = None
    high: float | None = None
    above: bool = False

    @property
    def bounds(self) -> str:
        """As docs/serving.md has it."""
        if self.kind == "integer":
            return f"integer, {self.low:,.0f} to {self.high:,.0f}"
        if self.kind == "number":
            return f"{'above ' if self.above else ''}{self.low:,.15g} to {self.high:,.15g}"
        return WORDS[self.kind].format(high=f"{self.high or 0:,.0f}")


WORDS = {
    "boolean": "true or false",
    "model": "`legal-llm`",
    "user": "text of {high} characters at most",
    "messages": "1 to {high} of `role` (system, user, assistant), `content`, and `name` of 64 characters at most",
    "prompt": "text, or a list of 1 to {high} texts",
    "stop": "text, or a list of 1 to 4; each of 1 to {high} characters",
    "bias": "up to {high} token ids, each −100 to 100",
    "stream_options": "`include_usage`, `continuous_usage_stats`: true or false; only with `stream`",
    "format": '`{{"type": "text"}}`',
}

SAFE = 2**53 - 1  # whole numbers that every JSON reader takes for the same
SHARED = {
    "model": Field("model", "the one model; may be left out"),
    "max_tokens": Field("integer", "length of an answer; left out: as long as the context lets it be", 1, MOST_TOKENS),
    "temperature": Field("number", "0 takes the likeliest token; **default 0, as evaluated**", 0, 2),
    "top_p": Field("number", "share of probability that is drawn from", 0, 1, above=True),
    "top_k": Field("integer", "how many tokens are drawn from; 0 or −1 for all", -1, 1000),
    "min_p": Field("number", "least probability beside the likeliest token's", 0, 1),
    "frequency_penalty": Field("number", "against tokens that were often said", -2, 2),
    "presence_penalty": Field("number", "against tokens that were said", -2, 2),
    "repetition_penalty": Field("number", "against tokens that were said or asked", 0.5, 2),
    "seed": Field("integer", "of the sampling", -SAFE, SAFE),
    "n": Field("integer", "answers; more than 1 needs a temperature above 0", 1, 4),
    "stop": Field("stop", "where the answer ends", high=256),
    "logit_bias": Field("bias", "added to tokens' scores", high=300),
    "stream": Field("boolean", "the answer piece by piece"),
    "stream_options": Field("stream_options", "what a stream tells beside the answer"),
    "response_format": Field("format", "plain text only"),
    "user": Field("user", "taken, not passed on", high=256),
}
CHAT = {
    "messages": Field("messages", "`content` is text, or a list of parts of the type `text`; required", high=512),
    **SHARED,
    "max_completion_tokens": Field("integer", "the newer name of `max_tokens`", 1, MOST_TOKENS),
    "logprobs": Field("boolean", "log-probabilities of the answer's tokens"),
    "top_logprobs": Field("integer", "how many others with each token; only with `logprobs`", 0, 20),
}
COMPLETION = {
    "prompt": Field("prompt", "what is continued; required", high=16),
    **SHARED,
    "max_tokens": Field("integer", "length of an answer; **default 16**", 1, MOST_TOKENS),
    "logprobs": Field("integer", "log-probabilities of so many tokens", 0, 20),
}
# What the proof asks for beside it, by the gateway's own key alone: token ids, and none of an earlier request's memory.
PROOF = {name: Field("boolean", "") for name in ("return_token_ids", "return_tokens", "verbose", "cache_prompt")}


def script(model: str, proof_key: str, limits: Mapping[str, Any]) -> str:
    """The module that the gateway's njs reads: the tables above, the model's name, and the id of the key that may prove.

    `limits`: those of serving.limits.Limits, and `folder`, where what is under way is kept.
    """

    def table(fields: Mapping[str, Field]) -> dict[str, Any]:
        return {name: {k: v for k, v in asdict(one).items() if k != "about"} for name, one in fields.items()}

    tables = {"chat": table(CHAT), "completion": table(COMPLETION), "proof": table(PROOF)}
    defaults = {"chat": dict(DEFAULTS), "completion": dict(COMPLETION_DEFAULTS)}
    value = {**tables, "defaults": defaults, "model": model, "proofKey": proof_key, "limits": dict(limits)}
    return f"// Written by legal_tasks.serving.fields; changes by hand are overwritten.\nexport default {json.dumps(value)};\n"


def page(fields: Mapping[str, Field]) -> str:
    """The table of docs/serving.md."""
    rows = [f"| `{name}` | {one.bounds} | {one.about} |" for name, one in fields.items()]
    return "\n".join(["| field | values | |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(f"`/v1/chat/completions`:\n\n{page(CHAT)}\n\n`/v1/completions`:\n\n{page(COMPLETION)}")
