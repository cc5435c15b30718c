"""llama.cpp's OpenAI server as a process of its own: listens on 127.0.0.1 until it is told to end.

python -m legal_tasks.serving.llama --model FILE.gguf --name legal-llm --port 8100 --parallel 4
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from legal_tasks.serving.fields import DEFAULTS, NEUTRAL

CHOSEN = 2**16 - 1  # each bit of llama.cpp's common_params_sampling_config: set by the user
STOPS = {signal.SIGTERM, signal.SIGINT}


def ask_as_evaluated(sampling: Any) -> None:
    """What a request does not say of sampling is as it was evaluated, whatever llama.cpp or the file would choose.

    `sampling`: xllamacpp's CommonParamsSampling.
    """
    sampling.temp, sampling.top_p, sampling.min_p = (
        float(DEFAULTS["temperature"]),
        float(NEUTRAL["top_p"]),
        float(NEUTRAL["min_p"]),
    )
    sampling.top_k, sampling.penalty_repeat = NEUTRAL["top_k"], float(NEUTRAL["repetition_penalty"])
    sampling.user_sampling_config = CHOSEN  # or `general.sampling.*` of the file would come before them


def serve(arguments: argparse.Namespace) -> int:
    """Answer requests until TERM or INT; 2 where llama.cpp does not read the file."""
    import gguf
    import xllamacpp

    from legal_tasks.compression.rounding import keep_float32

    context = gguf.GGUFReader(arguments.model).fields["llama.context_length"].contents()
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = arguments.model, {arguments.name}
    params.hostnames, params.port = ["127.0.0.1"], arguments.port
    params.n_ctx, params.n_parallel = context * arguments.parallel, arguments.parallel  # a whole context for each request
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    ask_as_evaluated(params.sampling)
    keep_float32(params)  # what was evaluated is computed like this: legal_tasks/compression/rounding.py
    params.use_jinja, params.endpoint_metrics, params.ui = True, True, False
    params.warmup, params.verbosity = False, 0
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        print(f"error: llama.cpp does not read {arguments.model}: {error}", file=sys.stderr)
        return 2
    print(f"serving {arguments.model} on {server.listening_address}", flush=True)
    signal.sigwait(STOPS)
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m legal_tasks.serving.llama", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="a *.gguf file with tokenizer and chat template inside")
    parser.add_argument("--name", required=True, help="the model's name in the API")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=4, help="requests decoded together")
    parser.add_argument("--threads", type=int, default=1)
    # Blocked before llama.cpp starts its threads, which inherit the mask: else one of them would take the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    return serve(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
