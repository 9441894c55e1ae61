"""Answers requests with a trained model: the engine, the two ends of a request, and the server around them."""
