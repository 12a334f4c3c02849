"""Local training: examples, batches and the loop every procedure and every client shares."""
