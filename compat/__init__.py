"""Other people's clients against a real Floe: `python -m compat` runs them and keeps the matrix."""
