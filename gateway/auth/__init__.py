"""Who may do what: tokens, JWT, tenants."""
