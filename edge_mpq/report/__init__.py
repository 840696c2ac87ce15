"""What a run measured, as one HTML page, as a few lines of text, or beside other runs."""
