"""Regions of images repaired: filled in, drawn anew, and found."""
