"""The data phase's text rules and near-duplicates as datatrove does them; runs in the peer's environment.

    PEER -m benchmarks.peers.datatrove_prepare IN OUT

IN holds consultations as JSON Lines {query, response}; OUT gets the kept ones. Its best settings for one core: one task after
another in this process, xxhash, no compression, whole files buffered, filtered documents written once and read again. The grams
are ours (different character 5-grams of the normalised text), because its word tokens are none for Chinese.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.logging import logger
from datatrove.utils.word_tokenizers import WhitespaceTokenizer

from legal_tasks.data.dedupe import grams
from legal_tasks.data.rules import text_hits
from legal_tasks.records import Record

CONFIG = MinhashConfig(n_grams=5, num_buckets=32, hashes_per_bucket=4)
SHORTEST, LONGEST = 10, 8000  # characters; as in data.clean


class CharacterGrams(MinhashDedupSignature):
    """Signatures over the different character 5-grams."""

    def get_shingles(self, text: str) -> numpy.ndarray:
        hashed = [self._hash_func(gram) for gram in grams(text)]
        return numpy.fromiter(hashed, dtype=numpy.uint64).reshape((-1, 1))


def adapt(self, data: dict, path: str, number: int | str) -> dict:
    text = "\n".join([data["query"], "", data["response"]])
    return {"text": text, "id": f"{path}/{number}", "metadata": {"query": data["query"], "response": data["response"]}}


def good(document) -> bool:
    record = Record(document.metadata["query"], "", document.metadata["response"], "talks", "consultation")
    return not text_hits(record, SHORTEST, LONGEST)


def run(source: Path, target: Path) -> None:
    """Four stages, one after the other."""
    work = target / "work"

    def stage(name: str, pipeline: list, tasks: int = 1) -> None:
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(work / "logs" / name)).run()

    filtered = JsonlWriter(str(work / "filtered"), compression=None)
    signatures = CharacterGrams(str(work / "signatures"), config=CONFIG, language=WhitespaceTokenizer())  # not asked for words
    stage("sign", [JsonlReader(str(source), compression=None, adapter=adapt), LambdaFilter(good), filtered, signatures])
    buckets = MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=CONFIG, lines_to_buffer=-1)
    stage("match", [buckets], tasks=CONFIG.num_buckets)
    stage("cluster", [MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=CONFIG, lines_to_buffer=-1)])
    reader = JsonlReader(str(work / "filtered"), compression=None)
    kept = JsonlWriter(str(target / "kept"), compression=None)
    stage("keep", [reader, MinhashDedupFilter(str(work / "remove"), lines_to_buffer=-1), kept])


if __name__ == "__main__":
    logger.remove()
    run(Path(sys.argv[1]), Path(sys.argv[2]))
