"""What stands behind ``evaluate``: reference labels, the rows side by side, scores and their means."""
