"""The embedder that comes along: all-MiniLM-L6-v2 on onnxruntime, in a thread of this process. Knows no store."""

import asyncio
import gzip
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

from dragoman.adapters.models import weights
from dragoman.core.agents import VendorChoice
from dragoman.ports.embedders import EmbedderError

NAME = "embedded:all-minilm-l6-v2-int8"
# What the model was trained on; what is longer is cut, so chunks are made shorter than that.
MOST_TOKENS = 256
# A question waits for the batch in hand: so many chunks with their windows take some 60 ms.
BATCH = 4


class EmbeddedEmbedder:
    """The provider `embedded`; the model is loaded at its first use."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedder")
        self._model: _Model | None = None

    async def embed(self, choice: VendorChoice, texts: Sequence[str]) -> Sequence[bytes]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, texts)

    def name(self, choice: VendorChoice) -> str:
        return NAME

    def batch(self, choice: VendorChoice) -> int:
        return BATCH

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _embed(self, texts: Sequence[str]) -> list[bytes]:
        if self._model is None:
            path = weights.locate("embedder", self._models_dir)
            if path is None:
                raise EmbedderError(f"no weights in {self._models_dir}; run: dragoman models pull embedder")
            self._model = _Model(path)
        return self._model.embed(texts)


class _Model:
    """The loaded weights and the tokenizer that they were trained with."""

    def __init__(self, path: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = {each.name for each in self._session.get_inputs()}
        packed = resources.files(__package__).joinpath("minilm-tokenizer.json.gz").read_bytes()
        self._tokenizer = Tokenizer.from_str(gzip.decompress(packed).decode())
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """The mean of each text's token vectors, of length 1."""
        import numpy as np

        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        given: dict[str, Any] = {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        hidden = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        weighed = mask[:, :, None].astype(np.float32)
        mean = (hidden * weighed).sum(axis=1) / weighed.sum(axis=1)
        unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return [row.astype("<f4").tobytes() for row in unit]
