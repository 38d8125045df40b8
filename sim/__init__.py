"""A pretend telephone world: calls a real gateway over real sockets, and checks what it says of them."""
