"""MERGE: constant attention in the place of queries, keys and softmax, and embeddings that are reused.

Liang et al., "MERGE: fast private text generation" (AAAI 2024). Both change what a model answers, so they are asked for
by name and trained afterwards: :func:`mpccompile.merge.merged.merged` rewrites a model's layers (the merge module), and
:func:`mpccompile.merge.reuse.continued` generates without ever looking at a token (embedding resending).
"""
