"""What generated programs run on: the two parties, the dealer, and the protocols between them."""
