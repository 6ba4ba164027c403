"""What the released Nova says of its own API, read from the installed package when it is asked. Runs where Nova is."""
