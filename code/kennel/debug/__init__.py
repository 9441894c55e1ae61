"""Watching a training: the hook that saves tensors, the trial that reads them, and the rules that judge them."""
