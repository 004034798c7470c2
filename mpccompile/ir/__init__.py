"""The graph between capture and code: its vocabulary, its edits, what it costs and what is proven of its values."""
