"""The dialogs of the wizard."""
