"""What runs a study: cells, the plan, resuming, and processes side by side."""
