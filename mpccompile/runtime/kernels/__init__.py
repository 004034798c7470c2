"""Exact products of integer matrices modulo a power of two, and the packing of their messages."""
