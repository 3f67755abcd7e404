"""What commands do: one module per noun, one function per command."""
