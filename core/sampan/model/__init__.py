"""Pure data: values that can be printed, tested and handed to somebody else's tool."""
