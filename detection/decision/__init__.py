"""From scores to alerts and verdicts."""
