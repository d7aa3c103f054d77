"""Everything about a trained flow on one page."""
