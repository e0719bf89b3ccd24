"""What authorities and resolvers answer."""
