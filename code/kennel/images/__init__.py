"""From a file's bytes to what a network sees: one way for training and serving."""
