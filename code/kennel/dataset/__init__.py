"""Folders of pictures: found, checked, made and fetched."""
