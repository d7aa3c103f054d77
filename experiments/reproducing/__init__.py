"""Tables and figures of the paper, and questions of our own, as experiments to be repeated."""
