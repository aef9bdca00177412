"""What a person reads: data of the page, run report, charts, the table of elements."""
