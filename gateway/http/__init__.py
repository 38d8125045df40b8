"""The one port: connections, frames, routes, who may use them."""
