"""Pure arrays: windows, and pictures for screens and prompts."""
