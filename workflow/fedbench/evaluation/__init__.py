"""Predictions into scores: metrics, their bootstrap intervals and the table of runs; nothing here knows a model."""
