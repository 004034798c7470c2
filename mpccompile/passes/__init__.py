"""Passes over a lowered program, one per file: each is a function from Program to Program."""
