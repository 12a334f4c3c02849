"""Scores into tables, verdicts, figures and one page; nothing here knows a model or trains one."""
