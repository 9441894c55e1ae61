"""Endpoints: made, changed, asked."""
