"""One export run: what it asks for, its job, its files, and what the next run asks for."""
