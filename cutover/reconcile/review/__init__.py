"""The bundle on disk, and what a person reads and decides in it."""
