"""The command line, command by command; `finetune_tui.cli` puts them together."""
