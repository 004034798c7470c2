"""The forms of softmax: what the weights of a row are, before they are divided by their sum.

``exp`` is softmax itself. ``2quad`` and ``2relu`` are the replacements of Li et al., "MPCFormer: fast, performant and
private Transformer inference with MPC" (ICLR 2023).
"""

from __future__ import annotations

FORMS = ("exp", "2quad", "2relu")

QUAD_SHIFT = 5.0
"""2Quad squares a score plus this: the paper's c, the same for every head and layer."""
LEAST_TOTAL = 2.0**-6
"""2ReLU divides by a row's sum or by this, whichever is larger. The paper adds 1e-12 instead, which fixed point of 16
bits cannot hold; here a row without a positive score gives zeros, and one below 2^-6 fades out."""
