"""Signal analysis: from samples to windows, speech activity and features."""
