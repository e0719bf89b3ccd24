"""What is decided about every change of old: by values and rules, then across rows. Looks things up, writes nothing."""
