"""What people see in a browser: pages, their assets and the routes that serve them."""
