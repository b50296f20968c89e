"""The kinds of files and folders rows come in, each read in the same way (`base.RowFile`)."""
