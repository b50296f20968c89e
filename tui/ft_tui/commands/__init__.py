"""The command line, command by command; `ft_tui.cli` puts them together."""
