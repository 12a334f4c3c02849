"""IoT-23: Zeek logs to typed flows, a curated sample, splits and text (GSFS, section on data; Table I)."""
