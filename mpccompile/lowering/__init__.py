"""Rewrite ATen calls on secret values as calls of ``ir.ops``: one file per family of operations."""
