"""Whether, and how fast, different ways of playing the game reach its solution."""
