"""Which of a model's functions to approximate: the seconds saved against the accuracy lost, both measured."""
