"""Tools of MCP servers that an operator names in a file: processes (stdio) and addresses (streamable HTTP)."""
