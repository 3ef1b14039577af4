"""Training of routers, which give each row a float32 score; the highest scores go to the large model first."""
