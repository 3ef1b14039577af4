"""All that a person looks at: HTML pages, terminal output, dataset cards and plots."""
