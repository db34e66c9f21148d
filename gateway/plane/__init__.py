"""The data plane: a question in, its outcome out; knows no protocol."""
