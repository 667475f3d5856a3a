"""Decoding modes as generators over forwards, and the one loop that runs them."""
