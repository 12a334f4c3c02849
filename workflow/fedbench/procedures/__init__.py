"""The procedures that runs name: what is trained on whose rows, and which model answers the test set."""
