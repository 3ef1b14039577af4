"""What a person looks at: HTML, terminal, cards and plots."""
