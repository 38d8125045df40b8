"""The commands of `callscreen`, besides `serve`."""
