"""Benchmarks against stock CrypTen, run on this machine."""
