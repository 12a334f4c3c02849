"""Dolly: records -> IoT instruction set -> Self-Instruct -> splits (Edge-FIT, section III)."""
