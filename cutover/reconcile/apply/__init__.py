"""What is written into new, verified and taken back: the protocol and the tool that drives it."""
