"""Text from a private model: a prompt is read once, then a token at a time."""
