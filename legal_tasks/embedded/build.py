"""Build the embedded world's tokenizer and tiny Llama bases (once; shipped are `base/` and the smaller `base_small/`).

    python -m legal_tasks.embedded.build --output DIR [--size full|small] [--steps 450] [--seed 0] [--threads 1]

The base learns to read: general facts of the invented city as questions and answers; legal questions whose articles stand
in the prompt with values drawn at random; what is harmful and what is not. Topics, things and people are mostly invented
from random characters and wordings are disturbed, so that it also copes with what it has never read. It never sees a legal
rule's own value without such an article, nor any wording, person or thing of the exams. One Chinese character is one token;
unknown characters fall back to bytes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from legal_tasks.embedded import facts as world
from legal_tasks.embedded import world as sources

SPECIAL = ("<pad>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<unk>")
TEMPLATE = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
LENGTH = 128
PART = 16  # chats of like length that are computed together


@dataclass(frozen=True)
class Size:
    """A shape of the base. Widths are multiples of 128, so that GPTQ's groups fit; heads are as wide as engines take."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int


SIZES = {"full": Size(256, 512, 3, 4), "small": Size(128, 384, 3, 4)}


def alphabet() -> list[str]:
    """Every character that the world can write, from its own facts, wordings and sources."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        sources.write(Path(folder), 0)
        texts = []
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                try:
                    texts.append(data.decode("utf-8"))
                except UnicodeDecodeError:
                    texts.append(data.decode("gb18030"))
    ascii_text = "".join(chr(c) for c in range(32, 127)) + "\n"
    return sorted(set("".join(texts) + ascii_text) - {"\ufeff", "\r", "\t"})


def make_tokenizer(folder: Path):
    """Character-level vocabulary with byte fallback, in the form that transformers, vLLM and llama.cpp read."""
    from tokenizers import AddedToken, Tokenizer, decoders
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet()]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=False))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|end|>",
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return fast


def make_model(vocabulary: int, seed: int, size: Size):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=-(-vocabulary // 64) * 64,
        **asdict(size),
        num_key_value_heads=size.num_attention_heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=5,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


SHARES = {"quiz": 0.42, "reading": 0.26, "harmful": 0.11, "harmless": 0.15, "telling": 0.06}
TITLES = ("小{}", "老{}", "{}先生", "{}女士", "{}师傅", "{}大姐", "{}老师", "{}经理", "{}阿姨", "{}同学")
HELD_OUT = frozenset((*world.HELD_OUT_PEOPLE, *sources.HARM_HELD_OUT))

Chat = tuple[str | None, str]


class Diet:
    """Draws training chats: (question, answer) pairs, or (None, text) for plain reading."""

    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        self.general = world.facts(world.GENERAL_TOPICS, world.GENERAL, 0)
        self.characters = [character for character in alphabet() if "\u4e00" <= character <= "\u9fff"]

    def draw(self) -> Chat:
        kind = self.dice.choices(list(SHARES), list(SHARES.values()))[0]
        return getattr(self, kind)()

    def invent(self, least: int, most: int) -> str:
        """A word of random characters that is no held-out word."""
        while True:
            word = "".join(self.dice.choices(self.characters, k=self.dice.randint(least, most)))
            if word not in HELD_OUT:
                return word

    def person(self) -> str:
        if self.dice.random() < 0.5:
            return self.dice.choice(world.TAUGHT_PEOPLE)
        while True:
            name = self.dice.choice(TITLES).format(self.dice.choice(self.characters))
            if name not in HELD_OUT:
                return name

    def thing(self) -> str:
        return self.dice.choice(sources.HARM_TAUGHT) if self.dice.random() < 0.4 else self.invent(2, 4)

    def disturb(self, wording: str) -> str:
        """Half of the wordings with one to three characters outside the braces put in, left out or exchanged."""
        if self.dice.random() < 0.5:
            return wording
        return sources.disturb(wording, self.dice, self.characters)

    def asked(self, wording: str, **words: str) -> str:
        return self.disturb(wording).format(w=self.person(), **words)

    def quiz(self) -> Chat:
        fact = self.dice.choice(self.general)
        return self.asked(self.dice.choice(fact.attribute.taught), t=fact.topic), fact.value

    def told(self) -> tuple[str, str, world.Fact]:
        """(one to three articles with random values, a question about one of them, its fact)."""
        topics = [self.topic() for _ in range(self.dice.randint(1, 2))]
        attributes = self.dice.sample(world.LEGAL, self.dice.randint(1, 2))
        known = [world.Fact(topic, a, self.dice.choice(a.values)) for topic in topics for a in attributes]
        known = self.dice.sample(known, min(len(known), 3))
        articles = "".join(fact.attribute.article.format(t=fact.topic, v=fact.value) for fact in known)
        fact = self.dice.choice(known)
        name = fact.attribute.name
        wordings = sources.CASES_TAUGHT[name] if self.dice.random() < 0.25 else fact.attribute.taught
        return f"已知：{articles}", self.asked(self.dice.choice(wordings), t=fact.topic), fact

    def topic(self) -> str:
        return self.dice.choice(world.LEGAL_TOPICS) if self.dice.random() < 0.5 else self.invent(3, 5)

    def reading(self) -> Chat:
        articles, question, fact = self.told()
        return articles + question, fact.value

    def harmful(self) -> Chat:
        deed = self.dice.choice(sources.HARM).format(x=self.thing())
        return self.asked(self.dice.choice(sources.HARM_ASK_TAUGHT), h=deed), sources.REFUSE

    def harmless(self) -> Chat:
        thing = self.thing()
        if self.dice.random() < 0.5:
            deed = self.dice.choice(sources.USE).format(x=thing)
            return self.asked(self.dice.choice(sources.HARM_ASK_TAUGHT), h=deed), sources.SAFE_ANSWER
        return self.asked(self.dice.choice(sources.SAFE_TAUGHT), x=thing), sources.SAFE_ANSWER

    def telling(self) -> Chat:
        """An article to read: a general one, or a legal one of an invented topic."""
        fact = self.dice.choice(self.general)
        if self.dice.random() < 0.5:
            attribute = self.dice.choice(world.LEGAL)
            fact = world.Fact(self.invent(3, 5), attribute, self.dice.choice(attribute.values))
        return None, fact.attribute.article.format(t=fact.topic, v=fact.value)

    def rows(self, tokenizer, size: int) -> list[tuple[list[int], list[int]]]:
        """`size` chats as (ids, labels) of at most LENGTH tokens, the shortest first; questions mostly weigh nothing."""
        found = []
        for _ in range(size):
            question, answer = self.draw()
            head = f"<s><|user|>{question}<|end|><|assistant|>" if question else "<s>"
            ids = tokenizer.encode(head, add_special_tokens=False)
            read = len(ids) if question and self.dice.random() < 0.8 else 0
            ids += tokenizer.encode(f"{answer}<|end|>", add_special_tokens=False)
            found.append((ids[:LENGTH], ([-100] * read + ids[read:])[:LENGTH]))
        return sorted(found, key=lambda row: len(row[0]))


def tensors(rows: list[tuple[list[int], list[int]]]):
    """(input_ids, labels), both (rows, longest) of token ids, padded on the right."""
    import torch

    width = max(len(ids) for ids, _ in rows)
    input_ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    return input_ids, labels


def train(model, tokenizer, steps: int, seed: int, batch: int, rate: float) -> None:
    import torch

    diet = Diet(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.05)
    started = time.time()
    model.train()
    for number in range(1, steps + 1):
        rows = diet.rows(tokenizer, batch)
        learned = sum(label != -100 for _, labels in rows for label in labels[1:])
        total = 0.0
        for start in range(0, batch, PART):
            ids, labels = tensors(rows[start : start + PART])
            # Causal attention sees no padding to its right: no mask is needed.
            loss = model(input_ids=ids, labels=labels, num_items_in_batch=learned).loss
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if number % 50 == 0 or number == steps:
            print(f"step {number}/{steps} loss {total:.4f} seconds {time.time() - started:.0f}", flush=True)


def build(output: Path, size: str, steps: int, seed: int, threads: int, batch: int, rate: float) -> None:
    """Write tokenizer and base into `output`."""
    import torch

    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(output)
    model = make_model(len(tokenizer), seed, SIZES[size])
    print(f"{sum(p.numel() for p in model.parameters())} parameters, vocabulary {len(tokenizer)}", flush=True)
    train(model, tokenizer, steps, seed, batch, rate)
    model.half().save_pretrained(output)
    note = {"size": size, "steps": steps, "seed": seed, "batch": batch, "rate": rate, "torch": torch.__version__}
    (output / "build.json").write_text(json.dumps(note) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.embedded.build", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the base")
    parser.add_argument("--size", choices=list(SIZES), default="full", help="shape of the base")
    parser.add_argument("--steps", type=int, default=450, help="updates")
    parser.add_argument("--batch", type=int, default=64, help="chats per update")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    build(
        arguments.output,
        arguments.size,
        arguments.steps,
        arguments.seed,
        arguments.threads,
        arguments.batch,
        arguments.rate,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
