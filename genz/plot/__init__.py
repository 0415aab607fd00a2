"""Layer 6: plotly figures from frames; computes nothing, saves nothing, shows nothing."""
