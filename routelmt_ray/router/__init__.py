"""Routers: what turns a row into one float32, the higher the sooner it goes to the large model."""
