"""Flower's deployment on loopback: a SuperLink and SuperNodes over TLS, with keys that live as long as the run.

Guarded: what travels (TLS under an authority of this run alone, whose key is never written), who is a node (it has a
registered key, by which its clients are known too), and what lies on disk (folder 0700, keys 0600, gone at the end).

Not guarded: another user of the same machine. Flower 1.41 without accounts lets anybody who reaches the loopback port
submit an app, and shows the token of a task in the process list. Deploy on a machine whose users you trust.
"""
