"""Data sets in memory, the same for training, tuning and evaluation, checked before anything is run."""
