"""One file for each command; the table that names them is in kvcli.main."""
