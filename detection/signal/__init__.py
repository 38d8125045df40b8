"""From samples to windows and features; no model, no opinion."""
