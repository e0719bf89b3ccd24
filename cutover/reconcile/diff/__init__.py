"""What differs between the sides, table by table, found without holding a table in memory."""
