"""What a private run will answer, computed in one process without a second party or a dealer."""
