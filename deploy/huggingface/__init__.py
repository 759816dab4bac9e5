"""Miles as a Hugging Face Space: its settings (README.md here), and what puts it there."""
