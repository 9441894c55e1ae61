"""One page on one run: what to change first, and all the numbers behind it. Reads files, starts nothing."""
