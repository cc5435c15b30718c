"""Build the embedded world's tokenizer and tiny Llama base (once; the result is shipped in `base/`).

    python -m legal_tasks.embedded.build --output DIR [--steps 1500] [--seed 0] [--threads 2]

The base learns to read: general facts of the invented city as questions and answers, and legal questions whose article
stands in the prompt with a value drawn at random. It never sees a legal rule's own value without such an article, nor any
wording or person of the exams. One Chinese character is one token; unknown characters fall back to bytes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

from legal_tasks.embedded import facts as world
from legal_tasks.embedded import world as sources

SPECIAL = ("<pad>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<unk>")
TEMPLATE = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
LENGTH = 128


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


def make_model(vocabulary: int, seed: int):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=-(-vocabulary // 64) * 64,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=5,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


class Diet:
    """Draws training chats: (question, answer) pairs, or (None, text) for plain reading."""

    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        self.general = world.facts(world.GENERAL_TOPICS, world.GENERAL, 0)

    def draw(self) -> tuple[str | None, str]:
        kind = self.dice.random()
        if kind < 0.55:
            return self.general_question()
        if kind < 0.65:
            fact = self.dice.choice(self.general)
            return None, fact.attribute.article.format(t=fact.topic, v=fact.value)
        if kind < 0.97:
            return self.reading()
        return self.safe()

    def general_question(self) -> tuple[str, str]:
        fact = self.dice.choice(self.general)
        wording = self.dice.choice(fact.attribute.taught)
        return sources.ask(wording, fact, world.TAUGHT_PEOPLE, self.dice), fact.value

    def reading(self) -> tuple[str, str]:
        """One to three articles with random values, then a question about one of them; sometimes with options."""
        attribute = self.dice.choice(world.LEGAL)
        topics = self.dice.sample(world.LEGAL_TOPICS, self.dice.randint(1, 3))
        values = [self.dice.choice(attribute.values) for _ in topics]
        told = "".join(attribute.article.format(t=t, v=v) for t, v in zip(topics, values, strict=True))
        pick = self.dice.randrange(len(topics))
        fact = world.Fact(topics[pick], attribute, values[pick])
        question = sources.ask(self.dice.choice(attribute.taught), fact, world.TAUGHT_PEOPLE, self.dice)
        return f"已知：{told}{question}", values[pick]

    def safe(self) -> tuple[str, str]:
        thing = self.dice.choice(sources.HARM_TAUGHT)
        wording = self.dice.choice(sources.SAFE_TAUGHT)
        return wording.format(x=thing, w=self.dice.choice(world.TAUGHT_PEOPLE)), sources.SAFE_ANSWER

    def batch(self, tokenizer, size: int):
        """(input_ids, labels), both (size, longest) of token ids; questions are read but weigh nothing."""
        import torch

        rows = []
        for _ in range(size):
            question, answer = self.draw()
            if question is None:
                ids = tokenizer.encode(f"<s>{answer}<|end|>", add_special_tokens=False)
                labels = list(ids)
            else:
                head = tokenizer.encode(f"<s><|user|>{question}<|end|><|assistant|>", add_special_tokens=False)
                tail = tokenizer.encode(f"{answer}<|end|>", add_special_tokens=False)
                ids, labels = head + tail, [-100] * len(head) + tail
                if self.dice.random() < 0.3:
                    labels = list(ids)
            rows.append((ids[:LENGTH], labels[:LENGTH]))
        width = max(len(ids) for ids, _ in rows)
        input_ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
        labels_ = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
        return input_ids, labels_


def train(model, tokenizer, steps: int, seed: int, batch: int, rate: float) -> None:
    import torch

    diet = Diet(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.05)
    started = time.time()
    model.train()
    for number in range(1, steps + 1):
        ids, labels = diet.batch(tokenizer, batch)
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if number % 50 == 0 or number == steps:
            print(f"step {number}/{steps} loss {loss.item():.4f} seconds {time.time() - started:.0f}", flush=True)


def build(output: Path, steps: int, seed: int, threads: int, batch: int, rate: float) -> None:
    """Write tokenizer and base into `output`."""
    import torch

    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(output)
    model = make_model(len(tokenizer), seed)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, vocabulary {len(tokenizer)}", flush=True)
    train(model, tokenizer, steps, seed, batch, rate)
    model.half().save_pretrained(output)
    note = {"steps": steps, "seed": seed, "batch": batch, "rate": rate, "torch": torch.__version__}
    (output / "build.json").write_text(json.dumps(note) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.embedded.build", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the base")
    parser.add_argument("--steps", type=int, default=1500, help="updates")
    parser.add_argument("--batch", type=int, default=64, help="chats per update")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    build(arguments.output, arguments.steps, arguments.seed, arguments.threads, arguments.batch, arguments.rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
