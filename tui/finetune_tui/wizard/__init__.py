"""What the wizard knows, without screens: the draft as it was typed, and what follows from it."""
