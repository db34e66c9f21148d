"""The look at everything, what it says, and its page."""
