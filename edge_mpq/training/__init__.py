"""Training: one loop (loop.py), in what precision it runs, what it saves, and over how many processes."""
