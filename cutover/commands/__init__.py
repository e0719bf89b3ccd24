"""What each command does; :mod:`cutover.cli` only parses."""
