"""Our speed, as one lm-eval `LM`: a prompt is computed once for all its answers, and only answers meet the vocabulary.

Prompts that begin alike (the examples of a few-shot task) share the key-value cache of their beginning, answers to the
same prompt that of the whole prompt; answers of one token need no second pass. Nothing is padded on the left, and on the
right only where nothing follows, so any causal model with a cache gives the numbers that it gives alone. Stock lm-eval
tasks run on it unmodified, with the numbers of lm-eval's own `hf` model (tests hold the two within 1e-4).
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Tokens = list[int]
LOGITS_BUDGET = 1 << 25  # numbers in one block of logits: 128 MiB in float32
PROMPT_BUDGET = 8192  # tokens of prompts computed together
CACHE_BUDGET = 1 << 29  # bytes of keys and values held for one batch: 512 MiB
SHORTEST_SHARED = 16  # tokens: a common beginning below this is not worth a batch of its own
SPREAD = 1.3  # longest to shortest of the prompts that are padded to one length
MAX_GENERATED = 256  # tokens, where a task sets no bound (lm-eval's own default)
# Greedy decoding as it is served: a base's own generation_config.json may ask for more.
PLAIN: dict[str, Any] = {"num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}


@dataclass
class _Group:
    """The distinct answers to one prompt, and whose request each serves."""

    prompt: tuple[int, ...]
    answers: list[tuple[int, ...]] = field(default_factory=list)
    owners: list[list[int]] = field(default_factory=list)

    def add(self, answer: tuple[int, ...], request: int) -> None:
        if answer in self.answers:
            self.owners[self.answers.index(answer)].append(request)
        else:
            self.answers.append(answer)
            self.owners.append([request])


class Scorer:
    """Log-likelihoods and greedy answers of a causal model with its tokenizer.

    `truncated` counts prompts that lost their beginning because they do not fit in `max_length` tokens; `unfinished`
    holds (task, item number) of generated answers that reached their bound without an end.
    """

    def __init__(self, model: Any, tokenizer: Any, max_length: int | None = None, tell: Callable[[int, int], None] | None = None):
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length or int(model.config.max_position_embeddings)
        self.tell = tell
        self.truncated = 0
        self.unfinished: set[tuple[str, int]] = set()

    def score(self, requests: Sequence[tuple[Tokens, Tokens]]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, is it the greedy continuation) of each (prompt, answer), both not empty."""
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        done = 0
        for shared, groups in _by_beginning(self._group(requests)):
            cache = self._read(groups[0].prompt[:shared]) if shared else None
            for batch in self._batches(groups, shared):
                for group, scores in zip(batch, self._score_batch(batch, shared, cache), strict=True):
                    for owners, value in zip(group.owners, scores, strict=True):
                        for request in owners:
                            results[request] = value
                        done += len(owners)
                if self.tell:
                    self.tell(done, len(requests))
        return results

    def _read(self, tokens: tuple[int, ...]) -> Any:
        """The cache of keys and values of a beginning."""
        import torch

        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self.model.device)
            return self.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values

    def _group(self, requests: Sequence[tuple[Tokens, Tokens]]) -> list[_Group]:
        """Requests by prompt. A prompt that is too long loses its beginning, the same for all its answers: as much as
        the longest of them needs (lm-eval's `hf` cuts each answer's own, which differs where answers differ in length).
        """
        groups: dict[tuple[int, ...], _Group] = {}
        for number, (prompt, answer) in enumerate(requests):
            if not prompt or not answer or len(answer) > self.max_length:
                raise ValueError(f"request {number}: prompt {len(prompt)} and answer {len(answer)} tokens cannot be scored")
            whole = tuple(prompt)
            groups.setdefault(whole, _Group(whole)).add(tuple(answer), number)
        for group in groups.values():
            room = self.max_length + 1 - max(map(len, group.answers))
            self.truncated += len(group.prompt) > room
            group.prompt = group.prompt[-room:]
        return list(groups.values())

    def _batches(self, groups: list[_Group], shared: int) -> Iterator[list[_Group]]:
        """Groups with as many answers and prompts of equal length (nearly equal for answers of one token), longest first."""
        alike: dict[tuple[int, int], list[_Group]] = defaultdict(list)
        for group in groups:
            single = all(len(answer) == 1 for answer in group.answers)
            alike[0 if single else len(group.prompt), len(group.answers)].append(group)
        for (exact, answers), members in sorted(alike.items(), reverse=True):
            members.sort(key=lambda group: (-len(group.prompt), max(map(len, group.answers))))
            longest = max(len(answer) for group in members for answer in group.answers)
            batch: list[_Group] = []
            for group in members:
                head = len(batch[0].prompt) if batch else len(group.prompt)
                full = batch and len(batch) >= self._room(head, shared, answers if exact else 1, longest)
                if full or (head - shared) > SPREAD * (len(group.prompt) - shared):
                    yield batch
                    batch = []
                batch.append(group)
            yield batch

    def _room(self, length: int, shared: int, answers: int, longest: int) -> int:
        """How many prompts of this length fit the budgets together (at least one)."""
        config = self.model.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        cached = 8 * config.num_hidden_layers * heads * size * (length + longest) * answers  # two numbers of four bytes
        logits = int(config.vocab_size) * answers * longest
        return max(1, min(PROMPT_BUDGET // max(1, length - shared), CACHE_BUDGET // cached, LOGITS_BUDGET // logits))

    def _score_batch(self, batch: list[_Group], shared: int, beginning: Any) -> list[list[tuple[float, bool]]]:
        """Scores of each group's answers; `beginning` is the cache of the first `shared` tokens of every prompt."""
        import torch

        device = self.model.device
        rests = [group.prompt[shared:] for group in batch]
        answers = len(batch[0].answers)
        longest = max(len(answer) for group in batch for answer in group.answers)
        prompts = torch.full((len(batch), max(map(len, rests))), self._pad(), device=device)
        for row, rest in enumerate(rests):
            prompts[row, : len(rest)] = torch.tensor(rest, device=device)
        targets = torch.full((len(batch) * answers, longest), -1, device=device)
        for row, answer in enumerate(answer for group in batch for answer in group.answers):
            targets[row, : len(answer)] = torch.tensor(answer, device=device)
        with torch.inference_mode():
            cache = None
            if beginning is not None:
                cache = copy.deepcopy(beginning)
                cache.batch_repeat_interleave(len(batch))
            ends = torch.tensor([len(rest) - 1 for rest in rests], device=device)
            kept, place = ends.unique(return_inverse=True)
            out = self.model(
                input_ids=prompts, past_key_values=cache, use_cache=longest > 1 or cache is not None, logits_to_keep=kept
            )
            last = out.logits[torch.arange(len(batch), device=device), place].unsqueeze(1)
            logits = last.repeat_interleave(answers, dim=0)  # (groups * answers, 1, vocabulary)
            if longest > 1:
                cache = out.past_key_values
                cache.batch_repeat_interleave(answers)
                rest_logits = self.model(input_ids=targets[:, :-1].clamp(min=0), past_key_values=cache, use_cache=True).logits
                logits = torch.cat([logits, rest_logits], dim=1)
            values, greedy = _pick(logits.float(), targets)
        flat = list(zip(values, greedy, strict=True))
        return [flat[start : start + answers] for start in range(0, len(flat), answers)]

    def generate(self, prompts: Sequence[Tokens], max_new_tokens: int) -> list[Tokens]:
        """Greedy continuation of each prompt (tokens), without the end token; padded on the left."""
        import torch

        room = self.max_length - max_new_tokens
        if room < 1:
            raise ValueError(f"{max_new_tokens} new tokens do not fit in the model's {self.max_length}")
        self.truncated += sum(len(prompt) > room for prompt in prompts)
        order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
        results: list[Tokens] = [[] for _ in prompts]
        done = 0
        while done < len(order):
            length = min(len(prompts[order[done]]), room)
            chosen = order[done : done + max(1, PROMPT_BUDGET // (length + max_new_tokens))]
            ids = torch.full((len(chosen), length), self._pad())
            for row, number in enumerate(chosen):
                kept = prompts[number][-room:]
                ids[row, length - len(kept) :] = torch.tensor(kept)
            lengths = torch.tensor([[min(len(prompts[number]), room)] for number in chosen])
            mask = (torch.arange(length)[None, :] >= length - lengths).long()
            with torch.inference_mode():
                out = self.model.generate(
                    input_ids=ids.to(self.model.device),
                    attention_mask=mask.to(self.model.device),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    **PLAIN,
                    eos_token_id=self.tokenizer.eos_token_id,
                    pad_token_id=self._pad(),
                )
            for number, row in zip(chosen, out[:, length:].tolist(), strict=True):
                results[number] = _until(row, self.tokenizer.eos_token_id)
            done += len(chosen)
            if self.tell:
                self.tell(done, len(prompts))
        return results

    def _pad(self) -> int:
        return self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id


def _by_beginning(groups: list[_Group]) -> Iterator[tuple[int, list[_Group]]]:
    """(tokens that all prompts begin with, groups): neighbours in the order of their tokens that share half of themselves."""
    ordered = sorted(groups, key=lambda group: group.prompt)
    alone: list[_Group] = []
    start = 0
    while start < len(ordered):
        shared, end = len(ordered[start].prompt) - 1, start + 1
        while end < len(ordered):
            common = min(shared, _common(ordered[start].prompt, ordered[end].prompt))
            if common < max(SHORTEST_SHARED, len(ordered[end].prompt) // 2):
                break
            shared, end = common, end + 1
        if end - start < 4:
            alone += ordered[start:end]
        else:
            yield shared, ordered[start:end]
        start = end
    if alone:
        yield 0, alone


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many tokens two prompts begin with alike; at least one token of each stays its own."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), most)


def _pick(logits: Any, targets: Any) -> tuple[list[float], list[bool]]:
    """Sum of log-probabilities of `targets` (rows, tokens; -1 pads) under `logits`, and whether all were the best token."""
    import torch

    kept = targets >= 0
    chosen = logits.gather(2, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    values = (chosen - torch.logsumexp(logits, dim=-1)).masked_fill(~kept, 0.0).sum(dim=1)
    greedy = ((logits.argmax(dim=-1) == targets) | ~kept).all(dim=1)
    return values.tolist(), greedy.tolist()


def _until(tokens: Tokens, end: int) -> Tokens:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def as_lm(scorer: Scorer) -> Any:
    """`scorer` as an lm-eval model: tokenisation and chat template as in lm-eval's `hf`, computation as above."""
    from lm_eval.api.model import TemplateLM
    from lm_eval.models.utils import has_bos_prefix, postprocess_generated_text

    tokenizer = scorer.tokenizer

    class LexLoopLM(TemplateLM):
        backend = "causal"

        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tokenizer
            self._encode = lru_cache(maxsize=1 << 16)(self._encode_once)

        @property
        def eot_token_id(self) -> int:
            return tokenizer.eos_token_id

        @property
        def prefix_token_id(self) -> int:
            return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

        @property
        def tokenizer_name(self) -> str:
            return str(tokenizer.name_or_path).replace("/", "__")

        def _encode_once(self, string: str, add_special_tokens: bool | None) -> tuple[int, ...]:
            if add_special_tokens is None and has_bos_prefix(string, tokenizer.decode(self.prefix_token_id)):
                add_special_tokens = False
            options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
            return tuple(tokenizer.encode(string, **options))

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> Tokens:
            return list(self._encode(string, add_special_tokens))

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )

        def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = False, **kwargs: Any) -> list[tuple[float, bool]]:
            return scorer.score([(prompt, answer) for _, prompt, answer in requests])

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

            totals = []
            for (string,) in (request.args for request in requests):
                windows = get_rolling_token_windows(
                    token_list=self.tok_encode(string),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=scorer.max_length,
                    context_len=1,
                )
                pairs = [make_disjoint_window(window) for window in windows]
                totals.append(sum(value for value, _ in scorer.score(pairs)))
            return totals

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            results = [""] * len(requests)
            by_length: dict[int, list[int]] = defaultdict(list)
            for number, request in enumerate(requests):
                settings = request.args[1]
                if settings.get("do_sample") or settings.get("temperature"):
                    raise ValueError(f"task {request.task_name} samples; evaluation here is greedy")
                by_length[int(settings.get("max_gen_toks", MAX_GENERATED))].append(number)
            for new_tokens, members in by_length.items():
                prompts = [self.tok_encode(requests[number].args[0]) for number in members]
                for number, tokens in zip(members, scorer.generate(prompts, new_tokens), strict=True):
                    until = requests[number].args[1].get("until") or []
                    text = tokenizer.decode(tokens, skip_special_tokens=True)
                    stops = [until] if isinstance(until, str) else list(until)
                    results[number] = postprocess_generated_text(text, stops, None)
                    if len(tokens) == new_tokens and results[number] == text:
                        scorer.unfinished.add((requests[number].task_name, requests[number].doc_id))
            return results

    return LexLoopLM()
