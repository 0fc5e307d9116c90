"""Fake values, the recorder of the FX graph, symbolic scalars."""
