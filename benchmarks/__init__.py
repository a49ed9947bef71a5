"""What recording a run costs: ours, the least it could cost, and other packages."""
