"""What several test modules share: the vectors, and how they are read."""
