"""A labelled test set through plaintext, the simulation and the private program: how much is lost, and where."""
