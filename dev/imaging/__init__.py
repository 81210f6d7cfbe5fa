"""Builds the images of images/. Standard library only: it runs before there is any environment."""
