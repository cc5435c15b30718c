"""Several cards and hosts: the same training in several processes, with DeepSpeed's ZeRO (Rajbhandari et al. 2020).

`launch` starts them by torchrun. On several hosts (one pod per host) the same command runs on each, and torchrun's own
variables say where the others are: PET_NNODES, PET_NODE_RANK, PET_RDZV_ENDPOINT, PET_RDZV_BACKEND; the checkpoints then
lie on a disk that all hosts see.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from legal_tasks.step import StepError, convert, describe_params
from legal_tasks.training import child

CHILD = "LEXLOOP_DISTRIBUTED"  # set for the processes that torchrun starts


def is_child() -> bool:
    return CHILD in os.environ


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not is_child() or os.environ.get("RANK", "0") == "0"


def zero_config(stage: int) -> dict[str, Any]:
    """DeepSpeed's configuration of a stage; what is `auto` follows from the training's own arguments."""
    stages: dict[int, dict[str, Any]] = {
        2: {"overlap_comm": True, "contiguous_gradients": True, "reduce_scatter": True},
        3: {"overlap_comm": True, "contiguous_gradients": True, "stage3_gather_16bit_weights_on_model_save": False},
    }
    return {
        "zero_optimization": {"stage": stage, **stages[stage]},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }


def arguments(stage: int) -> dict[str, Any]:
    """What TrainingArguments needs for the stage."""
    found: dict[str, Any] = {"deepspeed": zero_config(stage)} if stage else {}
    if is_child():
        import torch

        found["ddp_find_unused_parameters"] = False
        if not torch.cuda.is_available():
            found["ddp_backend"] = "gloo"
    return found


def gathered(model, stage: int):
    """A context in which the trained weights are whole in every process (ZeRO-3 keeps a share in each)."""
    if stage != 3:
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([p for p in model.parameters() if p.requires_grad])


def command(params, work: Path) -> list[str]:
    """torchrun with as many processes on this host as are its share."""
    hosts = int(os.environ.get("PET_NNODES", "1").partition(":")[0])
    if params.processes % hosts:
        raise StepError(f"--processes {params.processes} cannot be shared by {hosts} hosts (PET_NNODES): set a multiple")
    alone = ["--standalone"] if hosts == 1 else []
    run = [sys.executable, "-m", "torch.distributed.run", *alone, f"--nproc-per-node={params.processes // hosts}"]
    return [*run, "-m", "legal_tasks.training.distributed", str(work / "params.json"), str(work / "result.json")]


def launch(params, work: Path):
    """Run the training in `params.processes` processes; the report of the first.

    StepError where one of them says what to mend; RuntimeError, so that it is tried again, where one was ended.
    """
    from legal_tasks.training.lora import Report

    work.mkdir(parents=True, exist_ok=True)
    result = work / "result.json"
    result.unlink(missing_ok=True)
    values = dataclasses.asdict(dataclasses.replace(params, checkpoints=work.absolute()))
    (work / "params.json").write_text(json.dumps(values, default=str), "utf-8")
    environment = {CHILD: "1", "OMP_NUM_THREADS": str(params.threads or 1)}
    if params.device == "cpu" or not _has_card():
        environment |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")}
    code, tail = child.follow(command(params, work), environment)
    if not result.is_file():
        raise RuntimeError(f"torchrun ended with {code}, its last words:\n{tail}")
    found = json.loads(result.read_text("utf-8"))
    if "error" in found:
        raise StepError(found["error"])
    return Report(**found)


def _has_card() -> bool:
    import torch

    return torch.cuda.is_available()


def read_params(path: Path):
    from legal_tasks.training.lora import Params

    values = json.loads(path.read_text("utf-8"))
    return Params(**{spec.name: convert(spec, values[spec.name]) for spec in describe_params(Params)})


def main(params_path: str, result_path: str) -> int:
    """One process of several: train, and let the first tell the result."""
    from legal_tasks.training import lora

    child.end_with_parent()
    first = is_first()
    if not first:
        sys.stdout = open(os.devnull, "w")  # the others would only say it again
    params = read_params(Path(params_path))
    try:
        answer = dataclasses.asdict(lora.train(params))
    except StepError as error:
        answer = {"error": str(error)}
    if first or "error" in answer:
        part = Path(f"{result_path}.{os.environ.get('RANK', '0')}.part")
        part.write_text(json.dumps(answer, default=str), "utf-8")
        os.replace(part, result_path)
    import torch

    if "error" not in answer and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return 2 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
