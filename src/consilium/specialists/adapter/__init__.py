"""What the adapters share: cards that users write, pictures as a foreign model wants them, weights, and what may be said."""
