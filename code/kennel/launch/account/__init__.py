"""What there is in an account: made ready, listed, priced, deleted."""
