"""How fast, and whether at all, ways to play the game come to its solution."""
