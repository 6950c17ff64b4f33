"""The metric catalogue, figures → samples → bytes."""
