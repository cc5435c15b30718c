"""What an engine is, whichever program it is: files it reads, argv, environment, its own names for common metrics,
and how it is asked for token ids.

vLLM serves the GPTQ variant, llama.cpp the GGUF file, both behind the same OpenAI API. TGI was archived by its makers in
March 2026: its container command is rendered, pinned, for those who still run it, and it is not started here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from legal_tasks.serving import guard
from legal_tasks.serving.fields import DEFAULTS, NEUTRAL
from legal_tasks.step import REPOSITORY, StepError

MODEL_NAME = "legal-llm"
SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "KEY", "MLFLOW", "LEXLOOP_DB")
Chat = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Settings:
    """How an engine is started; the defaults suit two CPU cores."""

    max_num_seqs: int = 16  # requests decoded together
    dtype: str = "float16"  # vLLM's GPTQ kernels know float16 and bfloat16 only; float16 is the more exact one
    threads: int = 1
    adapters: bool = False  # LoRA adapters may be loaded into the running vLLM
    drain_s: int = 10  # an engine that is told to stop ends what it has begun, seconds
    key: str = ""  # what vLLM answers to alone; "": anybody who reaches its port


class Backend(Protocol):
    """One program that serves an OpenAI API on a port of this machine."""

    name: str
    format: str  # as compression.load names it
    metrics: Mapping[str, str]  # common name -> name in the program's /metrics
    progress: Sequence[str]  # names there that move with the steps of the engine proper, and with nothing else

    def find(self, artifact: Path) -> Path:
        """What it reads in a compress artifact; StepError where there is none."""

    def argv(self, model: Path, port: int, settings: Settings) -> list[str]: ...

    def environment(self, settings: Settings) -> dict[str, str]: ...

    def prompt_ids(self, client: Any, url: str, chat: Chat) -> list[int]:
        """The token ids that the engine at `url` makes of a chat, the answer's beginning included."""

    def answer(self, client: Any, url: str, chat: Chat, max_tokens: int, **sampling: Any) -> list[int]:
        """Token ids of an answer through the gateway at `url`, with the end token if it was given.

        `sampling`: what the request says of it; nothing leaves it to what is served.
        """


def environment_python(name: str) -> Path:
    """Interpreter of a work environment on this machine; StepError where it is not built."""
    path = Path(os.environ.get("LEXLOOP_ENV_DIR", REPOSITORY / "var" / "env")) / name / "bin" / "python"
    if not path.is_file():
        raise StepError(f"{path} is missing: build the environment of the engine with make setup")
    return path


def plain_environment(settings: Settings) -> dict[str, str]:
    """Offline, bound to no core, and without the secrets of the program that starts the engine."""
    kept = {name: value for name, value in os.environ.items() if not any(word in name for word in SECRET_WORDS)}
    kept.pop("PYTHONPATH", None)
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost"}
    return {**kept, **offline, "OMP_NUM_THREADS": str(settings.threads)}


def ask(client: Any, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `url` to a JSON body; StepError with the server's words where it refuses."""
    reply = client.post(url, json=body)
    if reply.status_code != 200:
        raise StepError(f"{url} answers {reply.status_code} to a question of the proof: {reply.text[:300]}")
    return reply.json()


def question(chat: Chat, max_tokens: int, **sampling: Any) -> dict[str, Any]:
    """The README's body: it names no sampling unless `sampling` does."""
    return {"model": MODEL_NAME, "messages": list(chat), "max_tokens": max_tokens, **sampling}


class VLLM:
    """The same arguments for the official GPU image and for the CPU build.

    `LEXLOOP_ENGINE_ARGV` (a JSON list in which {model}, {port} and {name} are replaced) puts another server in its place.
    """

    name = "vllm"
    format = "gptq"
    folder = "gptq"  # vLLM refuses act-order
    metrics: Mapping[str, str] = {
        "running": "vllm:num_requests_running",
        "waiting": "vllm:num_requests_waiting",
        "cache": "vllm:kv_cache_usage_perc",
        "prompt_tokens": "vllm:prompt_tokens_total",
        "answer_tokens": "vllm:generation_tokens_total",
        "first_token": "vllm:time_to_first_token_seconds",
    }
    # Set where the scheduler's word arrives; the cache also moves while a long prompt is read in pieces. `request_success` is not
    # among them: the server itself counts requests that clients leave.
    progress: Sequence[str] = (
        *("vllm:iteration_tokens_total_count", "vllm:prompt_tokens_total", "vllm:generation_tokens_total"),
        *("vllm:kv_cache_usage_perc", "vllm:num_requests_running", "vllm:num_requests_waiting"),
    )

    def find(self, artifact: Path) -> Path:
        folder = Path(artifact) / self.folder
        if not folder.is_dir():
            raise StepError(f"{artifact} has no folder {self.folder}/: name the artifact of the step compression.compress")
        if not any(folder.glob("*.safetensors")):
            raise StepError(f"{folder} holds no weights (*.safetensors): the engine loads nothing else")
        return folder

    def argv(self, model: Path, port: int, settings: Settings) -> list[str]:
        template = os.environ.get("LEXLOOP_ENGINE_ARGV")
        if template:
            words = json.loads(template)
            for name, value in {"model": str(model), "port": str(port), "name": MODEL_NAME}.items():
                words = [word.replace("{" + name + "}", value) for word in words]
            return words
        # `vllm serve` asks for a distribution called vllm, which the CPU build is not.
        command = [str(environment_python("vllm")), "-m", "vllm.entrypoints.openai.api_server"]
        return [*command, *self.arguments(model, port, settings)]

    def arguments(self, model: Path, port: int, settings: Settings, host: str = "127.0.0.1") -> list[str]:
        """What follows the program, on every platform: also what the GPU image gets."""
        return [
            *("--model", str(model), "--served-model-name", MODEL_NAME, "--host", host, "--port", str(port)),
            *("--max-num-seqs", str(settings.max_num_seqs), "--enforce-eager", "--dtype", settings.dtype),
            *("--kv-cache-memory-bytes", str(kv_cache_bytes(model, settings.max_num_seqs))),
            *("--shutdown-timeout", str(settings.drain_s)),
            # The watch asks for these every second: 15 MB of log a day would tell nothing.
            *("--disable-access-log-for-endpoints", "/health,/metrics/"),
            # A model's own generation_config.json may ask for sampling, which was not what was evaluated.
            *("--generation-config", "vllm", "--override-generation-config", json.dumps({**NEUTRAL, **DEFAULTS})),
            *(("--enable-lora",) if settings.adapters else ()),
            *(("--middleware", guard.PATH) if settings.key else ()),
        ]

    def environment(self, settings: Settings) -> dict[str, str]:
        values = {**plain_environment(settings), "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
        # Even with --enforce-eager vLLM compiles a function of its own at the first request for log-probabilities, and every
        # other request waits for the compiler: 20 seconds and more on a busy core.
        values["TORCH_COMPILE_DISABLE"] = "1"
        if settings.adapters:
            values["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        if settings.key:
            values[guard.VARIABLE] = settings.key
        if settings.key or os.environ.get("LEXLOOP_ENGINE_ARGV"):
            values["PYTHONPATH"] = str(REPOSITORY)
        return values

    def prompt_ids(self, client: Any, url: str, chat: Chat) -> list[int]:
        body = {"model": MODEL_NAME, "messages": list(chat), "add_generation_prompt": True}
        return ask(client, f"{url}/tokenize", body)["tokens"]

    def answer(self, client: Any, url: str, chat: Chat, max_tokens: int, **sampling: Any) -> list[int]:
        body = {**question(chat, max_tokens, **sampling), "return_token_ids": True}
        return ask(client, f"{url}/v1/chat/completions", body)["choices"][0]["token_ids"]


class LlamaCpp:
    """llama.cpp's own OpenAI server, from the wheel xllamacpp, in a process of its own. `kind`: which GGUF file it reads."""

    def __init__(self, kind: str = "q4_0"):
        self.kind = kind

    name = "llama.cpp"
    format = "gguf"
    metrics: Mapping[str, str] = {
        "running": "llamacpp:requests_processing",
        "waiting": "llamacpp:requests_deferred",
        "prompt_tokens": "llamacpp:prompt_tokens_total",
        "answer_tokens": "llamacpp:tokens_predicted_total",
    }
    progress: Sequence[str] = ("llamacpp:n_decode_total", "llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total")

    def find(self, artifact: Path) -> Path:
        from legal_tasks.compression.compress import gguf_file

        file = Path(artifact) / gguf_file(self.kind)
        if not file.is_file():
            raise StepError(
                f"{artifact} has no {file.name}: name an artifact of the step compression.compress that was made with it (--gguf)"
            )
        return file

    def argv(self, model: Path, port: int, settings: Settings) -> list[str]:
        return [
            *(str(environment_python("ml")), "-m", "legal_tasks.serving.llama"),
            *("--model", str(model), "--name", MODEL_NAME, "--port", str(port)),
            *("--parallel", str(settings.max_num_seqs), "--threads", str(settings.threads)),
        ]

    def environment(self, settings: Settings) -> dict[str, str]:
        return {**plain_environment(settings), "PYTHONPATH": str(REPOSITORY)}

    def prompt_ids(self, client: Any, url: str, chat: Chat) -> list[int]:
        text = ask(client, f"{url}/apply-template", {"messages": list(chat)})["prompt"]
        return ask(client, f"{url}/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def answer(self, client: Any, url: str, chat: Chat, max_tokens: int, **sampling: Any) -> list[int]:
        # The list of log-probabilities leaves out tokens that are a part of a character; the verbose part has them all.
        body = {**question(chat, max_tokens, **sampling), "return_tokens": True, "verbose": True, "cache_prompt": False}
        return ask(client, f"{url}/v1/chat/completions", body)["__verbose"]["tokens"]


VLLM_BACKEND, LLAMA_BACKEND = VLLM(), LlamaCpp()
BY_FORMAT: dict[str, Backend] = {"gptq": VLLM_BACKEND, "gguf": LLAMA_BACKEND}
BY_FORMAT |= {f"gguf-{kind}": LlamaCpp(kind) for kind in ("q8_0", "f16", "q4_k_m")}

TGI_IMAGE = "ghcr.io/huggingface/text-generation-inference:3.3.5"


def tgi_command(folder: Path, port: int, context: int, settings: Settings) -> list[str]:
    """docker's argv that serves the GPTQ folder with TGI: pinned, offline, on the loopback. Rendered, never run here.

    TGI has no option for how it samples by default (a request without a temperature is sampled): behind our gateway, which
    writes the measured temperature into each request that names none, it answers as was measured; without it, it does not.
    """
    return [
        *("docker", "run", "--rm", "--gpus", "all", "--shm-size", "1g", "--network", "bridge"),
        *("-p", f"127.0.0.1:{port}:80", "-v", f"{Path(folder).absolute()}:/model:ro", "-e", "HF_HUB_OFFLINE=1"),
        *(TGI_IMAGE, "--model-id", "/model", "--quantize", "gptq", "--usage-stats", "off"),
        *("--dtype", settings.dtype, "--max-concurrent-requests", str(settings.max_num_seqs)),
        *("--max-input-tokens", str(context - 1), "--max-total-tokens", str(context)),
    ]


def kv_cache_bytes(folder: Path, sequences: int) -> int:
    """Memory for the keys and values of `sequences` full contexts, 64 MiB to 4 GiB, in any case enough for one.

    The CPU build touches all of it at its start, so a generous default would cost memory that nobody uses.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    one = 2 * 2 * config["num_hidden_layers"] * heads * width * config["max_position_embeddings"]  # float16 keys and values
    return max(64 * 2**20, one * 5 // 4, min(one * sequences, 4 * 2**30))


def read_sums(text: str) -> dict[str, float]:
    """{metric: value} of a /metrics page, label sets added up. ValueError where it is none."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def read_progress(text: str, backend: Backend) -> dict[str, float]:
    """{name: value} of the counters by which an engine is seen to work; empty where it has none. ValueError as `read_sums`."""
    sums = read_sums(text)
    return {name: sums[name] for name in backend.progress if name in sums}


def read_metrics(text: str, backend: Backend) -> dict[str, float]:
    """{common name: value} of a /metrics page, label sets added up; a histogram gives its count.

    Raises StepError naming the metric that the page lacks: names change between releases.
    """
    sums, found = read_sums(text), {}
    for common, theirs in backend.metrics.items():
        name = theirs if theirs in sums else theirs + "_count"
        if name not in sums:
            raise StepError(f"{backend.name} has no metric {theirs}: its release is not the one that is pinned")
        found[common] = sums[name]
    return found
