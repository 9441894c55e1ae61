"""Fitting a classifier: from a folder of pictures to an archive."""
