"""The scenarios, by subject. Each file registers its own."""
