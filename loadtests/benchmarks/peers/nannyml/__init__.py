"""NannyML, as it comes."""
