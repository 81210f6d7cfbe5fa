"""The sections of the page: each gives its part of what the subject has, or None where that is nothing."""
