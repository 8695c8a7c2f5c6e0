"""What we saw: feature tables, the store they are kept in, and how it is filled."""
