"""A real job from end to end: train a small classifier on this machine, compile it, and run it privately."""
