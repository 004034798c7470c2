"""MERGE: constant attention in the place of queries, keys and softmax, and embeddings that are reused.

Liang et al., "MERGE: fast private text generation" (AAAI 2024). Both change what a model answers, so they are asked for
by name and trained afterwards: :func:`merged` rewrites a model's layers (the merge module), and ``generation="reuse"``,
in plaintext :func:`continued`, goes on from hidden states (embedding resending).
"""

from __future__ import annotations

from mpccompile.merge.extract import Averages, averages
from mpccompile.merge.reuse import continued, scale_to_embeddings
from mpccompile.merge.rewrite import MergeConfig, deployed, merged

__all__ = ["Averages", "MergeConfig", "averages", "continued", "deployed", "merged", "scale_to_embeddings"]
