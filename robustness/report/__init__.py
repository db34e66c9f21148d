"""The robustness report as people read it: HTML, Markdown, a model card, a gate, a comparison."""
