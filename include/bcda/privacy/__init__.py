"""What may be shown of data about people: small cells, names from the data, texts of the server."""
