"""The checks of `callscreen doctor`, one module per subject. Each check takes the settings and yields findings."""
