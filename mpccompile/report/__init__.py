"""Profiles and pictures of what a program costs."""
