"""Origins: asking them, and judging what they said."""
