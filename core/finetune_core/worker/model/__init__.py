"""The model: loaded, adapted, made faster, saved."""
