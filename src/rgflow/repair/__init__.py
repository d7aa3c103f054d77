"""Repair of images: find regions, fill them in, and redraw them."""
