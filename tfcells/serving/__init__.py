"""How it is used: one SavedModel from image bytes to probabilities, and the code that asks it."""
