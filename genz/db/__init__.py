"""The only code that opens database files."""
